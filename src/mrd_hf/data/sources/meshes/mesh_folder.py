"""Folders of mesh files as sources of triplets: geometry from the files, pictures drawn, texts from metadata or names.

A collection is a folder, its sub-folders included, or a .zip file of one. Where it has metadata files as `datasets`'
`meshfolder` knows them (see [`mesh_metadata`]), they say what belongs to the dataset, as they do there: a
mesh that they do not name is left out, and listed as skipped. Without them every mesh counts, its name is the words
in the file's name, and its category the folder's. Parquet files with a column of meshes, as `datasets` writes
`meshfolder` datasets, count row by row.

Shapes are held out by name (see [`held_out_names`]), or as the metadata's column `split` says. Where names
come from files, chair_01.glb and chair_02.glb are both called "chair", the only text that they have, and so stay
together.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Unpack

import numpy as np
from datasets import Features, Value

from ....errors import UserError
from ....models.left_out_parts import SEEN, PartChoice
from ....models.shape_files import colored_points
from ....models.shape_suffixes import MAY_BE_Z_UP
from ....models.shapes import UNCOLORED, MeshError, UpAxis
from ....models.surface_sampling import normalize_points
from ...preparation.dataset_writing import PreparedShape, Run, prepare_dataset
from ...rendering import RenderSettings, check_can_render, encode_image, render_views
from ...schema import triplet_features
from .held_out_names import hold_out, name_key
from .mesh_files import open_mesh_files
from .mesh_jobs import MeshJob, mesh_jobs, shared_text
from .mesh_parquet import load_row, row_content


try:
    from datasets import Mesh
except ImportError:  # datasets before 4.5
    Mesh = None
# Files that are whole in themselves and that `datasets`, and so the Hub's viewer, knows.
KEPT_SUFFIXES = (".glb", ".ply", ".stl")
# So few may be of one kind, and have one text, on purpose.
FEW_SHAPES = 3


def mesh_folder_features(keep_mesh: bool = False) -> Features:
    """The triplet schema, and `model`: the mesh's path in its folder; on request `mesh`, the file.

    Raises:
        UserError: when this version of `datasets` has no such column.
    """
    if keep_mesh and Mesh is None:
        raise UserError("--keep-mesh needs a newer datasets, which has a column for meshes: pip install -U datasets.")
    kept = {"mesh": Mesh()} if keep_mesh else {}
    return Features({**triplet_features(), "model": Value("string"), **kept})


def prepare_mesh_folder(
    source: str | Path,
    out: str | Path,
    metadata: str | Path | None = None,
    up_axis: UpAxis | None = None,
    rendering: RenderSettings | None = None,
    num_points: int = 10_000,
    seed: int = 0,
    test_share: float | None = None,
    keep_collision: bool = False,
    skip_parts: str | None = None,
    keep_mesh: bool = False,
    **run: Unpack[Run],
) -> dict:
    """Make a triplet dataset from a folder of meshes.

    The result does not depend on `num_workers`: a shape's randomness comes from `seed` and its id alone. The shapes
    are in the splits that the metadata's column `split` says or, with `test_share`, in `train` and `test`; else all
    are in `train`.

    Args:
        source (`str` or `Path`): The folder, or a .zip file of one.
        out (`str` or `Path`): Folder of the dataset.
        metadata (`str` or `Path`, *optional*):
            A metadata file to use instead of those in the folder. Its file names start from its own folder if that is
            within `source`, else from `source`.
        up_axis (`"y"` or `"z"`, *optional*):
            Which axis points up in the meshes. Default: as each file says, else y; see docs/formats.md.
        rendering (`RenderSettings`, *optional*): How to draw pictures; without it there are none.
        num_points (`int`, defaults to 10000): Points sampled from each surface.
        seed (`int`, defaults to 0): Seed of the sampling.
        test_share (`float`, *optional*): The share of the names to hold out in `test`, see [`hold_out`].
        keep_collision, skip_parts: Which parts of meshes are read, see [`read_shape`].
        keep_mesh (`bool`, defaults to `False`):
            Whether to keep the files as well, those of `KEPT_SUFFIXES`, in a column `mesh`, which the viewer shows.
        run ([`Run`]): `num_workers`, `overwrite`, `num_shards` and `shard_index`, see [`prepare_dataset`].

    Returns:
        `dict`: The report that is also written to `report.json`, see [`prepare_dataset`]. With `test_share` it has
        `names`: how many there are in each split. Where more than a few shapes have one text alone, the same for all,
        which no metadata says, the one returned has it as `one_text`.

    Raises:
        UserError: There is no such folder or no mesh in it, a metadata file cannot be used, names cannot be held out,
            embreex is missing, or `out` has another dataset already.
    """
    if Path(out).resolve() == Path(source).resolve():
        raise UserError(f"{out}: is the folder of the meshes, which is left as it is; give --output another folder.")
    try:
        choice = PartChoice(keep_collision, skip_parts)
    except ValueError as error:
        raise UserError(str(error)) from None
    if rendering is not None:
        check_can_render()
    features = mesh_folder_features(keep_mesh)
    jobs = mesh_jobs(source, metadata, out)
    splits, names = _splits(jobs, test_share, seed, str(source))
    report = prepare_dataset(
        jobs,
        partial(
            prepare_mesh,
            num_points=num_points,
            seed=seed,
            up_axis=up_axis,
            rendering=rendering,
            choice=choice,
            keep_mesh=keep_mesh,
        ),
        features,
        out,
        settings={
            "source": "meshes",
            "folder": Path(source).resolve().name,
            "metadata": None if metadata is None else Path(metadata).name,
            "up_axis": up_axis or _said_axis(jobs),
            "rendering": None if rendering is None else asdict(rendering),
            "num_points": num_points,
            "seed": seed,
            "test_share": test_share,
            # Only where they are given, so that what was prepared without these settings can be resumed.
            **({"keep_collision": True} if keep_collision else {}),
            **({"skip_parts": skip_parts} if skip_parts is not None else {}),
            **({"keep_mesh": True} if keep_mesh else {}),
        },
        **run,
        splits=splits,
        facts={} if names is None else {"names": names},
        input_file=lambda job: job.file,
    )
    text = shared_text(jobs)
    return report if text is None or report["prepared"] <= FEW_SHAPES else report | {"one_text": text}


def prepare_mesh(
    job: MeshJob,
    num_points: int,
    seed: int,
    up_axis: UpAxis | None,
    rendering: RenderSettings | None,
    choice: PartChoice = SEEN,
    keep_mesh: bool = False,
) -> PreparedShape:
    """Make one row of the dataset."""
    if job.why_skipped is not None:
        return PreparedShape(job.id, skipped=job.why_skipped)
    try:
        if job.row is None:
            mesh = open_mesh_files(job.source).load_mesh(job.name, choice)
        else:
            mesh = load_row(job.source, job.row, job.name, choice)
    except MeshError as error:
        return PreparedShape(job.id, skipped=str(error))
    mesh = mesh.y_up(up_axis)
    generator = np.random.default_rng([seed, zlib.crc32(job.id.encode())])
    points, colors = colored_points(mesh, num_points, generator)
    with np.errstate(invalid="ignore", over="ignore"):
        points = normalize_points(points).astype(np.float16)
    if not np.isfinite(points).all():
        return PreparedShape(job.id, skipped=f"{job.name}: all too small or too large for floating-point numbers.")
    if colors is None:
        colors = np.full(points.shape, round(255 * UNCOLORED), dtype=np.uint8)
    images = [] if rendering is None else [encode_image(view) for view in render_views(mesh, rendering)]
    row = {
        "id": job.id,
        "source": "meshes",
        "name": job.shape_name,
        "category": job.description.category,
        "license": job.description.license or "NOASSERTION",
        "creator": job.description.creator,
        "points": points,
        "colors": colors,
        "images": [{"bytes": image, "path": None} for image in images],
        "texts": [{"text": text, "source": text_source} for text, text_source in job.texts],
        "model": job.name,
        **({"mesh": _kept_file(job)} if keep_mesh else {}),
    }
    return PreparedShape(job.id, row, warnings=mesh.warnings)


def _kept_file(job: MeshJob) -> dict[str, Any] | None:
    """The mesh's file, which has been read already; None if it is of a kind that is not kept."""
    path = PurePosixPath(job.name)
    if path.suffix.lower() not in KEPT_SUFFIXES:
        return None
    content = open_mesh_files(job.source).read(job.name) if job.row is None else row_content(job.source, job.row)
    return {"bytes": content, "path": path.name}


def _said_axis(jobs: Sequence[MeshJob]) -> str:
    """What the report says of which axis was up where nobody said it: y, if no file can say otherwise."""
    can_differ = any(PurePosixPath(job.name).suffix.lower() in MAY_BE_Z_UP for job in jobs)
    return "as each file says, else y" if can_differ else "y"


def _splits(
    jobs: Sequence[MeshJob], test_share: float | None, seed: int, source: str
) -> tuple[list[str] | None, dict[str, int] | None]:
    """The split of each job and, if names are held out, how many of them there are in each split; None for neither."""
    told = next((job for job in jobs if job.description.split is not None), None)
    if told is not None and test_share is not None:
        raise UserError(
            f"{source}: the metadata has a column 'split' ({told.name} is in '{told.description.split}'), which says "
            "what is held out; leave out --test-share, or that column."
        )
    if told is not None:
        lacking = next((job for job in jobs if job.skipped is None and job.description.split is None), None)
        if lacking is not None:
            raise UserError(
                f"{source}: {lacking.name} has no 'split' in the metadata, and {told.name} has; give both."
            )
        # Those that are skipped anyway must not make a split of their own.
        return [job.description.split or told.description.split or "" for job in jobs], None
    if test_share is None:
        return None, None
    keys = [name_key(job.shape_name) if job.why_skipped is None else None for job in jobs]
    known = {key for key in keys if key is not None}
    held_out = hold_out(sorted(known), test_share, seed, source)
    splits = ["test" if key in held_out else "train" for key in keys]
    return splits, {"train": len(known - held_out), "test": len(held_out)}
