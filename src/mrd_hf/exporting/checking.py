"""Exported files against the encoder that they were made of, on clouds of other sizes than the traced one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from ..errors import UserError
from ..models.point_sampling import ball_query, farthest_point_sampling, gather_points, knn_query
from .description import ENCODER_FILE, NETWORK_FILE, PROGRAM_FILE, SAMPLING_FILE
from .sampling_graph import Sampling
from .sessions import open_session


# Clouds and points in each.
SIZES = ((1, 1), (2, 37), (3, 500), (1, 3000))
# Of the norm of an embedding. Beyond it something is wrong, not rounded; a projection fitted by least squares, whose
# products cancel, was seen beyond 1e-5.
MAX_RELATIVE_ERROR = 1e-3


@dataclass(frozen=True)
class Agreement:
    """How far exported files are from the encoder, at most over all clouds.

    Args:
        relative_error (`float`): Length of the difference of two embeddings, by that of the encoder's.
        cosine_distance (`float`): 1 minus their cosine.
    """

    relative_error: float
    cosine_distance: float


def check_files(folder: Path, model: PreTrainedModel, exact: bool) -> Agreement:
    """Compare the files in a folder with an encoder in float32: indices are equal and embeddings close.

    Args:
        folder (`Path`)
        model (`PreTrainedModel`): A `PointBertModel` or `Uni3DModel` in float32 on the CPU, in evaluation mode.
        exact (`bool`): Whether the files are in float32 as well; in lower precision, embeddings only must be finite.

    Raises:
        UserError: They disagree; the message says which file and by how much.
    """
    sampler, network, encoder = (open_session(folder / name) for name in (SAMPLING_FILE, NETWORK_FILE, ENCODER_FILE))
    program = torch.export.load(folder / PROGRAM_FILE).module() if (folder / PROGRAM_FILE).is_file() else None
    agreements = []
    for values in several_clouds():
        points = values.numpy()
        centers, groups, *indices = sampler.run(None, {"point_values": points})
        expected_indices = sampled_indices(model, values)
        if not all(np.array_equal(found, expected) for found, expected in zip(indices, expected_indices, strict=True)):
            raise UserError(f"{SAMPLING_FILE} picks other points than the encoder, of {_named(values)}.")
        with torch.no_grad():
            expected = model.get_point_features(values).numpy()
        found = {
            NETWORK_FILE: network.run(None, {"centers": centers, "groups": groups})[0],
            ENCODER_FILE: encoder.run(None, {"point_values": points})[0],
        }
        if program is not None:
            with torch.no_grad():
                found[PROGRAM_FILE] = program(values).numpy()
        for name, embeds in found.items():
            agreement = compare(embeds, expected)
            if not np.isfinite(embeds).all() or (exact and agreement.relative_error > MAX_RELATIVE_ERROR):
                raise UserError(
                    f"{name} disagrees with the encoder by a relative {agreement.relative_error:.1e}, of "
                    f"{_named(values)}; in float32 at most {MAX_RELATIVE_ERROR:.0e} is rounding."
                )
            agreements.append(agreement)
    return Agreement(
        max(agreement.relative_error for agreement in agreements),
        max(agreement.cosine_distance for agreement in agreements),
    )


def compare(found: np.ndarray, expected: np.ndarray) -> Agreement:
    """How far embeddings of shape `(num_shapes, embedding_dim)` are from others, at most."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(axis=1) / (norms * np.linalg.norm(found, axis=1))
    return Agreement(float((np.linalg.norm(found - expected, axis=1) / norms).max()), float(1 - cosines.min()))


def sampled_indices(model: PreTrainedModel, point_values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the centres and of the points of the groups that an encoder takes."""
    sampling = Sampling.of(model.config)
    xyz = point_values[..., :3].contiguous()
    picked = farthest_point_sampling(xyz, sampling.num_patches)
    centers = gather_points(xyz, picked)
    if sampling.patch_radius is not None:
        members = ball_query(centers, xyz, sampling.patch_radius, sampling.patch_size)
    else:
        members = knn_query(centers, xyz, sampling.patch_size)
    return picked.numpy(), members.numpy()


def several_clouds() -> list[torch.Tensor]:
    """Clouds of several sizes in the unit ball, half on a lattice: there points double, many distances are equal."""
    generator = torch.Generator().manual_seed(0)
    clouds = []
    for batch, num_points in SIZES:
        values = torch.rand(batch, num_points, 6, generator=generator)
        directions = torch.nn.functional.normalize(torch.randn(batch, num_points, 3, generator=generator), dim=-1)
        values[..., :3] = directions * values[..., :1] ** (1 / 3)
        clouds += [values, torch.cat([(values[..., :3] * 4).round() / 4, values[..., 3:]], dim=-1)]
    return clouds


def _named(values: torch.Tensor) -> str:
    return f"{values.shape[0]} clouds of {values.shape[1]:,} points"
