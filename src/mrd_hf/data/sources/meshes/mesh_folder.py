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

import posixpath
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Unpack

import numpy as np
from datasets import Features, Value

from ....errors import UserError
from ....models.left_out_parts import SEEN, PartChoice
from ....models.mesh_loading import without_case
from ....models.shape_files import colored_points
from ....models.shape_suffixes import MAY_BE_Z_UP, MESH_SUFFIXES
from ....models.shapes import UNCOLORED, MeshError, UpAxis
from ....models.surface_sampling import normalize_points
from ....models.zip_members import leads_out
from ...preparation.dataset_writing import PreparedShape, Run, prepare_dataset
from ...rendering import RenderSettings, check_can_render, encode_image, render_views
from ...schema import triplet_features
from .held_out_names import hold_out, name_key
from .mesh_files import MeshFiles, open_mesh_files
from .mesh_metadata import METADATA_SUFFIXES, Description, read_metadata
from .mesh_names import folder_categories, shape_ids, words_of_name
from .mesh_parquet import load_row, mesh_rows, row_content


try:
    from datasets import Mesh
except ImportError:  # datasets before 4.5
    Mesh = None
# Files that are whole in themselves and that `datasets`, and so the Hub's viewer, knows.
KEPT_SUFFIXES = (".glb", ".ply", ".stl")
# Of files that somebody left out on purpose.
UNNAMED = "no metadata file names it, so it is left out"
METADATA_NAMES = tuple(f"metadata{suffix}" for suffix in METADATA_SUFFIXES)


@dataclass(frozen=True)
class MeshJob:
    """One mesh to prepare.

    Args:
        id (`str`): The shape's id.
        source (`str`): The folder or zip file or, where `row` is given, the parquet file.
        name (`str`): The mesh's path in it.
        description (`Description`): What is known of it.
        row (`int`, *optional*): Its row in the parquet file.
        skipped (`str`, *optional*): Why it is not to be prepared after all.
    """

    id: str
    source: str
    name: str
    description: Description
    row: int | None = None
    skipped: str | None = None

    def __str__(self) -> str:
        """Where the mesh is."""
        return str(Path(self.source, self.name)) if self.row is None else f"{self.source}: row {self.row}: {self.name}"

    @property
    def file(self) -> Path:
        """The file that the mesh is in."""
        in_one = self.row is not None or self.source.lower().endswith(".zip")
        return Path(self.source) if in_one else Path(self.source, self.name)

    @property
    def words(self) -> str:
        """The words in the file's name; may be empty."""
        return words_of_name(PurePosixPath(self.name).stem)

    @property
    def shape_name(self) -> str:
        """What the shape is called."""
        return self.description.name or self.words or PurePosixPath(self.name).stem

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """The shape's texts and their sources; may be none."""
        if self.description.texts:
            return self.description.texts
        if self.words:
            return ((self.words, "file_name"),)
        return ((self.description.category, "category"),) if self.description.category else ()

    @property
    def why_skipped(self) -> str | None:
        """Why there is nothing to prepare, as far as that shows without reading the mesh."""
        if self.skipped is not None:
            return self.skipped
        if PurePosixPath(self.name).suffix.lower() not in MESH_SUFFIXES:
            return f"{self.name}: expected a mesh, {', '.join(MESH_SUFFIXES)}."
        if not self.texts:
            return f"{self.name}: no text; its name has no words, so caption it in metadata."
        return None


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
        `names`: how many there are in each split.

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
    return prepare_dataset(
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


def mesh_jobs(source: str | Path, metadata: str | Path | None = None, out: str | Path | None = None) -> list[MeshJob]:
    """A job for [`prepare_mesh`] for each mesh in the folder and each that metadata names, in order of their paths.

    Args:
        source, metadata: As of [`prepare_mesh_folder`].
        out (`str` or `Path`, *optional*): A folder whose files are left out, where it lies in `source`.

    Raises:
        UserError: There is no such folder or no mesh in it, or a metadata file cannot be used.
    """
    files = MeshFiles(source)
    names = files.names()
    if out is not None and (made := Path(out).resolve()).is_relative_to(whole := files.source.resolve()):
        # What an earlier run wrote: its files with a column of meshes would be read as meshes of the folder.
        within = f"{made.relative_to(whole).as_posix()}/"
        names = [name for name in names if not name.startswith(within)]
    meshes = [name for name in names if PurePosixPath(name).suffix.lower() in MESH_SUFFIXES]
    described = _described(files, names, metadata)
    paths = sorted({*meshes, *(described or {})})
    without_metadata = [Description(category=category) for category in folder_categories(paths)]
    jobs = []
    for path, shape_id, inferred in zip(paths, shape_ids(paths), without_metadata, strict=True):
        description, skipped = inferred, None
        if described is not None:
            description = described.get(path, Description())
            skipped = None if path in described else UNNAMED
        jobs.append(MeshJob(shape_id, str(source), path, description, skipped=skipped))
    if described is not None:
        _check_any_there(list(described), names, str(source))
    if described is None:
        jobs += _row_jobs(files, names, [job.id for job in jobs])
    if not jobs:
        raise UserError(f"{source}: no mesh in it; expected files of {', '.join(MESH_SUFFIXES)}, or in parquet files.")
    return jobs


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


def _described(files: MeshFiles, names: Sequence[str], metadata: str | Path | None) -> dict[str, Description] | None:
    """What metadata says of meshes, by their paths; None where there is no metadata."""
    found = []  # each file's folder, name and content
    if metadata is not None:
        path, source = Path(metadata).resolve(), files.source.resolve()
        if not path.is_file():
            raise UserError(f"{metadata}: no such file; expected metadata, {', '.join(METADATA_SUFFIXES)}.")
        within = path.parent.relative_to(source).as_posix() if path.is_relative_to(source) else ""
        found.append((within, str(metadata), path.read_bytes()))
    else:
        for name in names:
            if PurePosixPath(name).name in METADATA_NAMES:
                try:
                    found.append((posixpath.dirname(name), name, files.read(name) or b""))
                except OSError as error:
                    raise UserError(f"{files.source / name}: {error}.") from error
        for folder, count in Counter(folder for folder, _, _ in found).items():
            if count > 1:
                raise UserError(f"{files.source / folder}: has {count} metadata files; keep one of them.")
    if not found:
        return None
    described: dict[str, Description] = {}
    for within, name, data in found:
        for file_name, description in read_metadata(data, name).items():
            path_name = posixpath.normpath(posixpath.join(within, file_name))
            place = f"{name}: {file_name}"
            described[path_name] = described.get(path_name, Description()).joined(description, place)
    return described


def _check_any_there(described: Sequence[str], names: Sequence[str], place: str) -> None:
    """Raise a [`UserError`] if metadata names no file that is there, which as a rule it spells otherwise.

    Else the files that it does not name would be told of first.
    """
    there = {without_case(name) for name in names}
    if described and not any(leads_out(path) or without_case(path) in there for path in described):
        raise UserError(
            f"{place}: the metadata's {described[0]} is not there, nor is any other file that it names; 'file_name' "
            "is a mesh's path from the metadata's own folder or, if that lies outside, from the folder of the meshes."
        )


def _row_jobs(files: MeshFiles, names: Sequence[str], taken: Sequence[str]) -> list[MeshJob]:
    """A job for each mesh in the folder's parquet files; the ids in `taken` are of others."""
    rows = []
    for name in names:
        if name.lower().endswith(".parquet") and files.source.is_dir():
            rows += [(name, number, *row) for number, row in enumerate(mesh_rows(files.source / name))]
    counts = Counter([PurePosixPath(mesh_name).stem for _, _, mesh_name, _ in rows]) + Counter(taken)
    jobs = []
    for name, number, mesh_name, description in rows:
        shape_id = PurePosixPath(mesh_name).stem
        if counts[shape_id] > 1:  # all that were made in memory are called mesh.glb
            shape_id = f"{name}/{number:06d}"
        jobs.append(MeshJob(shape_id, str(files.source / name), mesh_name, description, row=number))
    return jobs
