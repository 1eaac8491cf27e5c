"""transformers' `Trainer` with the models that are fine-tuned, against steps by hand."""

import numpy as np
import pytest
import torch
from support.tiny_encoders import TINY, clouds
from transformers import Trainer, TrainingArguments

from mrd_hf import PointBertConfig, PointBertForPartSegmentation, PointBertForShapeClassification


COUNT = 8
CLOUDS = clouds(COUNT, num_points=60)
CLASSES = torch.arange(COUNT) % 3
PARTS = (CLOUDS[..., 0] > 0).long() + 2 * (CLASSES > 0).long()[:, None]
PARTS[:, :5] = 255


def tiny_model(kind):
    torch.manual_seed(0)
    config = PointBertConfig(**TINY, num_labels=4, object_parts={"a": [0, 1], "b": [2, 3], "c": [2, 3]})
    return kind(config)


def samples(kind):
    names = {"labels": CLASSES} if kind is PointBertForShapeClassification else {"labels": PARTS}
    if kind is PointBertForPartSegmentation:
        names["object_classes"] = CLASSES
    return [{"point_values": CLOUDS[i], **{name: values[i] for name, values in names.items()}} for i in range(COUNT)]


def trainer_of(kind, folder, **changes):
    settings = {"max_steps": 2, "per_device_train_batch_size": COUNT, "optim": "sgd", "learning_rate": 0.1, **changes}
    arguments = TrainingArguments(
        str(folder),
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    return Trainer(tiny_model(kind), arguments, train_dataset=samples(kind), eval_dataset=samples(kind))


def steps_by_hand(kind, steps):
    """Gradient descent on the mean cross-entropy over all shapes, or all points that have a part."""
    model = tiny_model(kind).train()
    for _ in range(steps):
        inputs = {"object_classes": CLASSES} if kind is PointBertForPartSegmentation else {}
        logits = model(CLOUDS, **inputs).logits
        if kind is PointBertForPartSegmentation:
            kept = PARTS != 255
            loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2)[kept], PARTS[kept])
        else:
            loss = torch.nn.functional.cross_entropy(logits, CLASSES)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
    return model


@pytest.mark.parametrize("kind", [PointBertForShapeClassification, PointBertForPartSegmentation])
def test_trainer_does_the_same_steps(kind, tmp_path):
    trainer = trainer_of(kind, tmp_path)
    trainer.train()
    expected = dict(steps_by_hand(kind, 2).named_parameters())
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_trainer_evaluates_predicts_and_saves(tmp_path):
    trainer = trainer_of(PointBertForShapeClassification, tmp_path)
    trainer.compute_metrics = lambda found: {
        "accuracy": float(np.mean(found.predictions.argmax(-1) == found.label_ids))
    }
    metrics = trainer.evaluate()
    with torch.no_grad():
        logits = trainer.model.eval()(CLOUDS).logits
    assert metrics["eval_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, CLASSES).item(), rel=1e-4)
    assert metrics["eval_accuracy"] == pytest.approx((logits.argmax(1) == CLASSES).float().mean().item())
    np.testing.assert_allclose(
        trainer.predict(samples(PointBertForShapeClassification)).predictions, logits, atol=1e-5
    )
    trainer.save_model(tmp_path / "saved")
    again = PointBertForShapeClassification.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        assert torch.equal(again(CLOUDS).logits, logits)


def test_losses_of_parts_are_a_mean_when_gradients_are_accumulated(tmp_path):
    """Of two half batches, without batch statistics that differ: the same step as of the whole one."""
    trained = []
    for changes in ({}, {"per_device_train_batch_size": COUNT // 2, "gradient_accumulation_steps": 2}):
        trainer = trainer_of(PointBertForPartSegmentation, tmp_path, max_steps=1, **changes)
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.train = lambda mode=True, module=module: module  # stays in evaluation mode
                module.training = False
        trainer.train()
        trained.append(trainer.model.state_dict())
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight, rtol=1e-4, atol=1e-6, msg=name)
