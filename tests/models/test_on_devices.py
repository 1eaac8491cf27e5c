"""Encoders, objective and training on every device that there is, beside the same in float64 on the CPU."""

import pytest
import torch
from support.clouds_to_sample import KINDS, cloud
from support.sampling_loops import loop_ball, loop_farthest, loop_nearest
from support.tiny_encoders import TINY_CONFIGS, clouds, tiny_encoder
from support.tiny_mrd import teacher_embeds, tiny_mrd

from mrd_hf import MRDConfig
from mrd_hf.models import mrd_objective
from mrd_hf.models.mrd_objective import MRDObjective
from mrd_hf.models.point_sampling import ball_query, farthest_point_sampling, knn_query
from mrd_hf.models.relation_distillation import duplicate_pairs


pytestmark = pytest.mark.device


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_picked_as_by_a_loop(device, kind):
    points = cloud(kind, 300, 0)
    batch = torch.from_numpy(points)[None].to(device)
    assert farthest_point_sampling(batch, 20).tolist() == [loop_farthest(points, 20)]
    balls = ball_query(batch[:, :10], batch, 0.8, 24)
    assert balls.tolist() == [[loop_ball(center, points, 0.8, 24) for center in points[:10]]]
    neighbors = knn_query(batch[:, :10], batch, 24)
    assert neighbors.tolist() == [[loop_nearest(center, points, 24) for center in points[:10]]]


@pytest.mark.parametrize("kind", TINY_CONFIGS)
def test_encoders_give_the_features_and_gradients_of_double_precision(device, kind):
    results = []
    for place, dtype in ((torch.device("cpu"), torch.float64), (device, torch.float32)):
        model = tiny_encoder(kind).to(place, dtype)
        features = model.get_point_features(clouds().to(place))
        features.square().sum().backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        results.append((features.detach().cpu().double(), gradients.cpu().double()))
    for exact, found in zip(*results, strict=True):
        assert (found - exact).norm() < 1e-4 * exact.norm()


def test_compiled_encoders_give_the_same_features(device):
    model = tiny_encoder("openshape", num_hidden_layers=1).to(device)
    compiled = torch.compile(model.get_point_features, backend="eager")
    points = clouds().to(device)
    torch.testing.assert_close(compiled(points), model.get_point_features(points), atol=1e-5, rtol=1e-4)


def test_the_objective_is_that_of_double_precision(device):
    results = []
    for place, dtype in ((torch.device("cpu"), torch.float64), (device, torch.float32)):
        objective = tiny_mrd().objective.to(place, dtype)
        image, text = (embeds.to(place, dtype) for embeds in teacher_embeds())
        point = (0.8 * image + 0.1 * text.flip(0)).requires_grad_()
        loss = objective(point, image, text).loss
        loss.backward()
        results.append((loss.item(), point.grad.cpu().double()))
    (loss, gradient), (found_loss, found_gradient) = results
    assert found_loss == pytest.approx(loss, rel=1e-4)
    assert (found_gradient - gradient).norm() < 1e-3 * gradient.norm()


@pytest.fixture
def tf32():
    """As training has it by `--tf32`. (What it was cannot be put back by monkeypatch: torch hides the attribute.)"""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("tf32")
def test_equal_texts_are_found_where_other_products_are_rounded(device, monkeypatch):
    """By cosines of TF32, with 10 bits, a third of equal embeddings would differ, or with other rounding all."""
    found = []
    for place, dtype in ((torch.device("cpu"), torch.float64), (device, torch.float32)):
        objective = MRDObjective(MRDConfig()).to(place, dtype)
        rows = torch.randn(3, 64, 384, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        rows[2, 32:] = rows[2, :32]
        counts = []

        def counted(*arguments, counts=counts):
            pairs = duplicate_pairs(*arguments)
            counts.append(int(pairs.sum()))
            # On a CPU nothing is rounded, so the switch alone can tell; earlier versions of torch have not this name.
            assert getattr(torch.backends.cuda.matmul, "fp32_precision", "ieee") == "ieee"
            return pairs

        monkeypatch.setattr(mrd_objective, "duplicate_pairs", counted)
        loss = objective(*rows.to(place, dtype)).loss
        assert counts == [0, 64]
        found.append(loss.item())
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_few_steps_of_training_lower_the_loss(device, precision):
    model = tiny_mrd().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    points = clouds(6).to(device)
    image, text = (embeds.to(device) for embeds in teacher_embeds())
    losses = []
    for _ in range(12):
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = model(point_values=points, image_embeds=image, text_embeds=text).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
