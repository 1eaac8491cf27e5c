"""The model of parts against torch's own loss and a loop over its rules, and as a transformers model."""

import numpy as np
import pytest
import torch
from scipy.special import erf
from support.replicas import replica
from support.tiny_encoders import TINY, clouds, tiny_encoder
from transformers import AutoModelForSemanticSegmentation

from mrd_hf import PointBertConfig, PointBertForPartSegmentation, PointBertModel


PARTS = {"lamp": [3, 4], "chair": [0, 1, 2]}  # numbered by their names: the chair is 0
LABELS = 5


def tiny_segmenter(**changes) -> PointBertForPartSegmentation:
    torch.manual_seed(0)
    fields = {**TINY, "num_labels": LABELS, "object_parts": PARTS, "part_hidden_size": 16, **changes}
    return PointBertForPartSegmentation(PointBertConfig(**fields)).eval()


def some_labels() -> torch.Tensor:
    return torch.randint(0, LABELS, (3, 200), generator=torch.Generator().manual_seed(1))


CLASSES = torch.tensor([0, 1, 0])


def test_loss_is_torchs_over_the_points_with_a_label():
    labels = some_labels()
    labels[0, :150] = 255
    output = tiny_segmenter()(clouds(), CLASSES, labels)
    assert output.logits.shape == (3, LABELS, 200)
    by_point, kept = output.logits.transpose(1, 2), labels != 255
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(by_point[kept], labels[kept]))


def test_replicas_for_data_parallel_read_the_same_depths():
    """Step after step: what they capture hidden states by is hung into the model once."""
    model, plain = tiny_segmenter(num_hidden_layers=4), tiny_segmenter(num_hidden_layers=4)
    expected = plain(clouds(), CLASSES).logits
    for _ in range(2):
        for copy in (replica(model), replica(model)):
            assert torch.equal(copy(clouds(), CLASSES).logits, expected)
    assert torch.equal(model(clouds(), CLASSES).logits, expected)


def test_another_label_can_be_the_one_left_out():
    labels = some_labels()
    model = tiny_segmenter(semantic_loss_ignore_index=4)
    output = model(clouds(), labels=labels)
    by_point, kept = output.logits.transpose(1, 2), labels != 4
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(by_point[kept], labels[kept]))


def test_the_class_of_the_object_changes_the_logits_and_is_optional():
    model = tiny_segmenter()
    without, chairs, lamps = (
        model(clouds(), object_classes).logits
        for object_classes in (None, torch.zeros(3, dtype=torch.long), torch.ones(3, dtype=torch.long))
    )
    assert not torch.equal(without, chairs) and not torch.equal(chairs, lamps)
    with pytest.raises(ValueError, match=r"config\.object_parts does not say"):
        tiny_segmenter(object_parts=None)(clouds(), CLASSES)


def test_an_object_of_unknown_class_is_as_without_one():
    model = tiny_segmenter()
    unknown = torch.full((3,), -1)
    assert torch.equal(model(clouds(), unknown).logits, model(clouds()).logits)
    mixed = torch.tensor([0, -1, 1])
    together = model(clouds(), mixed).logits
    for row in range(3):
        alone = model(clouds()[row : row + 1], mixed[row : row + 1]).logits[0]
        torch.testing.assert_close(together[row], alone, atol=1e-6, rtol=1e-5)
    logits = torch.randn(3, LABELS, 50, generator=torch.Generator().manual_seed(2))
    np.testing.assert_array_equal(model.most_likely_parts(logits, mixed)[1].numpy(), logits[1].numpy().argmax(axis=0))


def normed(norm: torch.nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    weight, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps) * weight + bias


def linear(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + (0 if layer.bias is None else layer.bias.detach().numpy())


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def test_the_head_is_its_formula():
    """Points that lie on the patches' centres, so that each has the features of its own patch."""
    head = tiny_segmenter().head
    random = np.random.default_rng(0)
    with torch.no_grad():
        for norm in (module for module in head.modules() if isinstance(module, torch.nn.LayerNorm)):
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
    depths = random.normal(size=(3, 2, 9, 32)).astype(np.float32)
    centers = random.normal(size=(2, 8, 3)).astype(np.float32)
    values = np.concatenate([centers, random.random((2, 8, 3))], axis=-1).astype(np.float32)
    classes = np.array([1, 0])

    tokens = [normed(norm, depth) for norm, depth in zip(head.depth_norms, depths, strict=True)]
    patches = linear(head.patch_linear, np.concatenate([token[:, 1:] for token in tokens], axis=-1))
    pooled = np.concatenate([tokens[-1][:, 0], tokens[-1][:, 1:].max(axis=1)], axis=-1)
    cloud = linear(head.cloud_linear, normed(head.cloud_norm, pooled))
    cloud = cloud + head.object_embedding.weight.detach().numpy()[classes]
    own = linear(head.point_linear2, gelu(linear(head.point_linear1, values)))
    features = gelu(normed(head.norm1, patches + cloud[:, None] + own))
    features = gelu(normed(head.norm2, linear(head.linear, features)))
    expected = linear(head.classifier, features)

    found = head(list(torch.from_numpy(depths)), *map(torch.from_numpy, (centers, values, classes)))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-3, atol=1e-4)


def test_only_parts_of_the_class_are_most_likely():
    model = tiny_segmenter()
    logits = torch.randn(3, LABELS, 50, generator=torch.Generator().manual_seed(2))
    found = model.most_likely_parts(logits, CLASSES).numpy()
    for cloud, name in enumerate(["chair", "lamp", "chair"]):
        for point in range(50):
            scores = {part: logits[cloud, part, point].item() for part in PARTS[name]}
            assert found[cloud, point] == max(scores, key=scores.get)
    np.testing.assert_array_equal(model.most_likely_parts(logits).numpy(), logits.numpy().argmax(axis=1))


def test_tokens_of_each_third_reach_the_points():
    """With one depth's weights at zero, its tokens change nothing; with all of them, only the others do."""
    model = tiny_segmenter()
    assert model.depths == [1, 2, 3] and tiny_segmenter(num_hidden_layers=1).depths == [1]
    assert PointBertForPartSegmentation(PointBertConfig(**{**TINY, "num_hidden_layers": 12})).depths == [4, 8, 12]
    before = model(clouds()).logits
    for depth in range(3):
        changed = tiny_segmenter()
        with torch.no_grad():
            changed.head.patch_linear.weight[:, depth * 32 : (depth + 1) * 32] = 0
        assert not torch.equal(changed(clouds()).logits, before)


def test_two_points_in_one_place_differ_by_their_own_colours():
    model, values = tiny_segmenter(), clouds()
    values[:, 1, :3] = values[:, 0, :3]
    logits = model(values).logits
    assert not torch.allclose(logits[..., 0], logits[..., 1])
    with torch.no_grad():
        model.head.point_linear2.weight.zero_()
    logits = model(values).logits
    torch.testing.assert_close(logits[..., 0], logits[..., 1])


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"labels must have shape \(3, 200\)"):
        tiny_segmenter()(clouds(), labels=torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("parts", [{"chair": [0, 5]}, {"chair": []}])
def test_parts_that_are_no_labels_are_refused(parts):
    with pytest.raises(Exception, match="object_parts of 'chair'"):
        tiny_segmenter(object_parts=parts)


def test_every_parameter_learns():
    model = tiny_segmenter(num_hidden_layers=2).train()
    model(clouds(), CLASSES, some_labels()).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("kind", ["openshape", "ulip"])
def test_starts_from_a_pretrained_encoder(kind, tmp_path):
    encoder = tiny_encoder(kind)
    encoder.save_pretrained(tmp_path)
    model, report = PointBertForPartSegmentation.from_pretrained(
        tmp_path, num_labels=LABELS, object_parts=PARTS, output_loading_info=True
    )
    assert {name.partition(".")[0] for name in report["missing_keys"]} == {"head"}
    assert not report["unexpected_keys"]
    assert torch.equal(model.point_bert(clouds()).pooler_output, encoder(clouds()).pooler_output)
    assert model.eval()(clouds(), CLASSES).logits.isfinite().all()


def test_saves_and_loads_by_its_auto_class_with_the_order_of_its_classes(tmp_path):
    model = tiny_segmenter(id2label={0: "back", 1: "seat", 2: "leg", 3: "shade", 4: "pole"})
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForSemanticSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(loaded, PointBertForPartSegmentation)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.config.id2label[3] == "shade" and loaded.config.object_class_names == ["chair", "lamp"]
    logits = model(clouds(), CLASSES).logits
    assert torch.equal(loaded(clouds(), CLASSES).logits, logits)
    assert torch.equal(loaded.most_likely_parts(logits, CLASSES), model.most_likely_parts(logits, CLASSES))
    assert PointBertModel.from_pretrained(tmp_path).config.num_labels == LABELS


def test_returns_what_is_asked_for():
    model = tiny_segmenter()
    assert model(clouds()).hidden_states is None
    assert len(model(clouds(), output_hidden_states=True).hidden_states) == 4
    logits = model(clouds(), CLASSES, return_dict=False)[0]
    assert torch.equal(logits, model(clouds(), CLASSES).logits)


def test_half_precision_and_gradient_checkpointing():
    model = tiny_segmenter()
    logits = model(clouds(), CLASSES).logits
    half = model.to(torch.bfloat16)(clouds(), CLASSES).logits
    assert half.dtype == torch.bfloat16 and (half.float() - logits).abs().max() < 0.1
    losses = []
    for checkpointing in (False, True):
        training = tiny_segmenter().train()
        if checkpointing:
            training.gradient_checkpointing_enable({"use_reentrant": False})
        loss = training(clouds(), CLASSES, some_labels()).loss
        loss.backward()
        losses.append((loss.item(), training.point_bert.embeddings.patch_projection.weight.grad.clone()))
    torch.testing.assert_close(losses[0][1], losses[1][1])
