"""The classifier against torch's own losses, and as a transformers model."""

import pytest
import torch
from support.tiny_encoders import TINY, clouds, tiny_encoder

from mrd_hf import PointBertConfig, PointBertForShapeClassification, PointBertModel


LABELS = 4


def tiny_classifier(num_labels: int = LABELS, **changes) -> PointBertForShapeClassification:
    torch.manual_seed(0)
    return PointBertForShapeClassification(PointBertConfig(**{**TINY, "num_labels": num_labels, **changes})).eval()


INDICES = torch.tensor([1, 3, 0])
CASES = [
    ("single_label_classification", LABELS, INDICES, torch.nn.functional.cross_entropy),
    (
        "multi_label_classification",
        LABELS,
        torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]]),
        torch.nn.functional.binary_cross_entropy_with_logits,
    ),
    ("regression", LABELS, torch.linspace(-2, 2, 12).view(3, LABELS), torch.nn.functional.mse_loss),
    (
        "regression",
        1,
        torch.tensor([0.5, -1.0, 2.0]),
        lambda logits, labels: torch.nn.functional.mse_loss(logits[:, 0], labels),
    ),
]


@pytest.mark.parametrize(("problem", "num_labels", "labels", "loss"), CASES)
def test_loss_is_torchs(problem, num_labels, labels, loss):
    model = tiny_classifier(num_labels, problem_type=problem)
    output = model(clouds(), labels=labels)
    assert output.logits.shape == (3, num_labels)
    torch.testing.assert_close(output.loss, loss(output.logits, labels))


@pytest.mark.parametrize(("problem", "num_labels", "labels"), [CASES[i][:3] for i in (0, 1, 3)])
def test_labels_tell_the_problem_when_the_config_does_not(problem, num_labels, labels):
    model = tiny_classifier(num_labels)
    loss = model(clouds(), labels=labels).loss
    assert model.config.problem_type == problem
    assert torch.equal(loss, tiny_classifier(num_labels, problem_type=problem)(clouds(), labels=labels).loss)


@pytest.mark.parametrize(("problem", "num_labels", "labels"), [case[:3] for case in CASES])
def test_parts_of_a_batch_add_up_to_the_whole(problem, num_labels, labels):
    """Where `Trainer` says how many labels all parts have; transformers' own loss is a mean for most problems."""
    model = tiny_classifier(num_labels, problem_type=problem)
    whole = model(clouds(), labels=labels).loss
    parts = [
        model(clouds()[rows], labels=labels[rows], num_items_in_batch=torch.tensor(labels.numel())).loss
        for rows in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_loss_is_summed_over_accumulated_batches_when_their_size_is_given():
    """`Trainer` accumulates gradients so: each part's sum over the number of samples in all parts."""
    model = tiny_classifier()
    logits = model(clouds()).logits
    loss = model(clouds(), labels=INDICES, num_items_in_batch=12).loss
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, INDICES, reduction="sum") / 12)


def test_logits_are_the_head_on_the_encoders_class_token():
    model = tiny_classifier()
    output = model(clouds(), output_hidden_states=True)
    encoded = model.point_bert(clouds())
    expected = encoded.pooler_output @ model.classifier.weight.T + model.classifier.bias
    torch.testing.assert_close(output.logits, expected)
    assert output.loss is None
    assert len(output.hidden_states) == 4
    torch.testing.assert_close(output.hidden_states[-1], encoded.last_hidden_state)
    assert model(clouds(), INDICES, return_dict=False)[1].shape == (3, LABELS)


def test_returns_a_tuple_when_the_config_says_so():
    model = tiny_classifier(return_dict=False)
    loss, logits = model(clouds(), labels=INDICES)
    assert logits.shape == (3, LABELS)
    assert loss.ndim == 0
    assert model.point_bert.get_point_features(clouds()).shape == (3, 32)


def test_every_parameter_learns():
    model = tiny_classifier().train()
    model(clouds(), labels=INDICES).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_dropout_acts_in_training_only():
    model = tiny_classifier(classifier_dropout=0.5)
    assert torch.equal(model(clouds()).logits, model(clouds()).logits)
    model.dropout.train()
    assert not torch.equal(model(clouds()).logits, model(clouds()).logits)


def test_starts_from_a_pretrained_encoder(tmp_path):
    encoder = tiny_encoder("openshape")
    encoder.save_pretrained(tmp_path)
    model, report = PointBertForShapeClassification.from_pretrained(
        tmp_path, num_labels=LABELS, output_loading_info=True
    )
    assert report["missing_keys"] == {"classifier.weight", "classifier.bias"}
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert torch.equal(model.point_bert(clouds()).pooler_output, encoder(clouds()).pooler_output)


def test_the_encoder_loads_from_a_classifier(tmp_path):
    model = tiny_classifier()
    model.save_pretrained(tmp_path)
    encoder, report = PointBertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert report["missing_keys"] == {"projection.weight", "projection.bias"}
    assert torch.equal(encoder(clouds()).pooler_output, model.point_bert(clouds()).pooler_output)


def test_saves_and_loads_with_its_labels(tmp_path):
    model = tiny_classifier(id2label={0: "bed", 1: "chair", 2: "lamp", 3: "sofa"})
    model.save_pretrained(tmp_path)
    loaded, report = PointBertForShapeClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert loaded.config.id2label[3] == "sofa"
    assert torch.equal(loaded(clouds()).logits, model(clouds()).logits)
