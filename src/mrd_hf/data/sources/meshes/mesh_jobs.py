"""Which meshes of a collection are to be prepared, and what is known of each before it is read."""

import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ....errors import UserError
from ....models.mesh_loading import without_case
from ....models.shape_suffixes import MESH_SUFFIXES
from ....models.zip_members import leads_out
from .mesh_files import MeshFiles
from .mesh_metadata import METADATA_SUFFIXES, Description, read_metadata
from .mesh_names import folder_categories, shape_ids, words_of_name
from .mesh_parquet import mesh_rows


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


def mesh_jobs(source: str | Path, metadata: str | Path | None = None, out: str | Path | None = None) -> list[MeshJob]:
    """A job for each mesh in the folder and each that metadata names, in order of their paths.

    Args:
        source, metadata: As of [`prepare_mesh_folder`][mrd_hf.data.sources.meshes.mesh_folder.prepare_mesh_folder].
        out (`str` or `Path`, *optional*): A folder whose files are left out, where it lies in `source`.

    Raises:
        UserError: There is no such folder or no mesh in it, or a metadata file cannot be used.
    """
    files, folder = MeshFiles(source), _without_slash(str(source))
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
        jobs.append(MeshJob(shape_id, folder, path, description, skipped=skipped))
    if described is not None:
        _check_any_there(list(described), names, str(source))
    if described is None:
        jobs += _row_jobs(files, names, [job.id for job in jobs])
    if not jobs:
        raise UserError(f"{source}: no mesh in it; expected files of {', '.join(MESH_SUFFIXES)}, or in parquet files.")
    return jobs


def shared_text(jobs: Sequence[MeshJob]) -> str | None:
    """The text that all shapes have, by the names of their files or folders; None where they have others."""
    texts = {job.texts for job in jobs if job.why_skipped is None}
    if len(texts) != 1 or any(job.description.texts for job in jobs):
        return None
    ((text, _),) = texts.pop()
    return text


def _without_slash(folder: str) -> str:
    """A folder's path without the slash that the shell completes it with, which would tell its jobs from others."""
    path = folder.rstrip("/" + os.sep)
    return path if Path(path) == Path(folder) else folder


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
