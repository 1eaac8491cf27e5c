"""Clouds of single files: points as they are, and points drawn from the surfaces of meshes."""

from pathlib import Path

import numpy as np

from ...errors import UserError
from ...models.feature_extraction_point_cloud import MESH_SUFFIXES
from ...models.mesh_loading import TexturedMesh, load_shape
from ...models.point_cloud_files import CLOUD_SUFFIXES, load_point_cloud
from ...models.surface_sampling import sample_surface
from .benchmark import Shape


SUFFIXES = MESH_SUFFIXES + CLOUD_SUFFIXES
# Points drawn from a mesh: as many as OpenShape evaluates with.
NUM_POINTS = 10_000


def read_shape_file(file: Path) -> Shape:
    """A mesh or a point cloud of any format that [`PointCloudFeatureExtractor`] reads.

    Meshes are sampled as the extractor of as many points does it, with the same seed for every file.

    Raises:
        UserError: It cannot be read; the message names it.
    """
    try:
        if file.suffix.lower() in CLOUD_SUFFIXES:
            points, colors = load_point_cloud(file)
            if colors is None and points.ndim == 2 and points.shape[1] == 6:  # .npy
                return points[:, :3], points[:, 3:]
            return points, colors
        shape = load_shape(file)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from None
    if not isinstance(shape, TexturedMesh):
        return shape
    points, colors = sample_surface(shape, NUM_POINTS, np.random.default_rng(0))
    return points, colors if any(part.is_colored for part in shape.parts) else None
