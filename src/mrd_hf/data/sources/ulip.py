"""ULIP's triplets of ShapeNet-55 as a source: point clouds, renders and the names of their classes.

As published, in one folder: `train.txt` and `test.txt` list `<synset>-<model>.npy`; `shapenet_pc` has these clouds of
8,192 points without colour, y up; `rendered_images/<synset>-<model>` (or, all together, `only_rgb_depth_images`) has
30 renders of each, 12 degrees apart, `<synset>-<model>_r_000.png` to `_r_348.png`, beside depth maps, which are left
out; `taxonomy.json` has the names of each synset, separated by commas. Each name becomes a text, as ULIP (arXiv
2212.05171) draws one of them.

A shape is skipped where its cloud, its class or all of its renders cannot be used; single renders are warnings.
"""

import io
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from PIL import Image

from ...errors import UserError
from ...files.plain_pickle import read_plain_npy
from ...models.shapes import UNCOLORED
from ..preparation.dataset_writing import PreparedShape, Run, prepare_dataset
from ..schema import triplet_features
from .published_fields import UnusableField, drawn_points, float_rows, read_file, unit_sphere


SPLITS = ("train", "test")
NUM_POINTS = 8192
DEGREES = range(0, 360, 12)
# Many times the size of a cloud, or a render.
MAX_CLOUD_BYTES = 2**24
MAX_IMAGE_BYTES = 2**26


@dataclass(frozen=True)
class ShapeJob:
    """A shape of the list.

    Args:
        id (`str`): `<synset>-<model>`.
        names (`str`, *optional*): Of its synset, as the taxonomy has them; None if it has none.
        again (`bool`): Whether the list had it before.
    """

    id: str
    names: str | None
    again: bool

    def __str__(self) -> str:
        return self.id


def prepare_ulip(
    folder: str | Path,
    out: str | Path,
    split: str = "train",
    num_points: int = NUM_POINTS,
    seed: int = 0,
    **run: Unpack[Run],
) -> dict[str, Any]:
    """Make a triplet dataset from ULIP's triplets of ShapeNet-55.

    Args:
        folder (`str` or `Path`): Of the download, `shapenet-55`.
        out (`str` or `Path`): Folder of the dataset.
        split (`str`, defaults to `"train"`): Or `"test"`. Give each a folder of its own.
        num_points (`int`, defaults to 8192): Points a shape; from clouds with more, so many are drawn.
        seed (`int`, defaults to 0): Seed of that drawing.
        run ([`Run`]): `num_workers`, `overwrite`, `num_shards` and `shard_index`, see [`prepare_dataset`].

    Returns:
        `dict`: The report that is also written to `report.json`, see [`prepare_dataset`].

    Raises:
        UserError: `folder` is no such download, a list in it is damaged, or `out` has another dataset already.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected ULIP's download shapenet-55.")
    if not (folder / "shapenet_pc").is_dir():
        raise UserError(f"{folder}: has no shapenet_pc, the folder of the point clouds.")
    renders = [name for name in ("rendered_images", "only_rgb_depth_images") if (folder / name).is_dir()]
    if not renders:
        raise UserError(f"{folder}: has neither rendered_images nor only_rgb_depth_images, the folders of renders.")
    return prepare_dataset(
        shape_jobs(_read_ids(folder / f"{split}.txt"), _read_names(folder / "taxonomy.json")),
        partial(
            prepare_shape,
            folder=str(folder),
            flat=renders[0] == "only_rgb_depth_images",
            num_points=num_points,
            seed=seed,
        ),
        triplet_features(),
        out,
        settings={"source": "ulip", "split": split, "num_points": num_points, "seed": seed},
        **run,
        input_file=lambda job: _cloud_of(folder, job),
    )


def shape_jobs(ids: Sequence[str], names: dict[str, str]) -> list[ShapeJob]:
    """A job for [`prepare_shape`] for each shape of a list, given the names of the synsets."""
    seen: set[str] = set()
    jobs = []
    for shape_id in ids:
        jobs.append(ShapeJob(shape_id, names.get(shape_id.partition("-")[0]), shape_id in seen))
        seen.add(shape_id)
    return jobs


def prepare_shape(job: ShapeJob, folder: str, flat: bool, num_points: int, seed: int) -> PreparedShape:
    """Make one row of the dataset.

    Args:
        job ([`ShapeJob`]): Which shape.
        folder (`str`): Of the download.
        flat (`bool`): Whether the renders of all shapes are in one folder.
        num_points (`int`), seed (`int`): See [`prepare_ulip`].
    """
    if job.again:
        return PreparedShape(job.id, skipped=f"{job.id}: is listed more than once in the split.")
    if job.names is None:
        return PreparedShape(job.id, skipped=f"taxonomy.json: has no synset {job.id.partition('-')[0]} ({job.id}).")
    cloud = _cloud_of(Path(folder), job)
    try:
        content = read_file(cloud, MAX_CLOUD_BYTES)
        xyz = float_rows(read_plain_npy(content, str(cloud)), str(cloud), 3)
        generator = np.random.default_rng([seed, zlib.crc32(job.id.encode())])
        points = unit_sphere(xyz[drawn_points(xyz, str(cloud), num_points, generator)], str(cloud))
    except UserError as error:
        return PreparedShape(job.id, skipped=str(error))
    except UnusableField as error:
        return PreparedShape(job.id, skipped=f"{error}.")
    renders = Path(folder) / ("only_rgb_depth_images" if flat else f"rendered_images/{job.id}")
    images, warnings = _read_renders(renders, job.id)
    if not images:
        return PreparedShape(
            job.id, skipped=f"none of its {len(DEGREES)} renders can be read, beginning with {warnings[0]}"
        )
    names = [name.strip() for name in job.names.split(",") if name.strip()]
    row = {
        "id": job.id,
        "source": "shapenet",
        "name": job.names,
        "category": names[0],
        "license": None,
        "creator": None,
        "points": points,
        "colors": np.full((num_points, 3), round(255 * UNCOLORED), dtype=np.uint8),
        "images": [{"bytes": image, "path": None} for image in images],
        "texts": [{"text": name, "source": "name"} for name in names],
    }
    return PreparedShape(job.id, row, warnings=warnings)


def _cloud_of(folder: Path, job: ShapeJob) -> Path:
    return folder / "shapenet_pc" / f"{job.id}.npy"


def _read_renders(folder: Path, shape_id: str) -> tuple[list[bytes], list[str]]:
    """The renders that can be read, as the files they are, and why others cannot."""
    images, warnings = [], []
    for degrees in DEGREES:
        file = folder / f"{shape_id}_r_{degrees:03d}.png"
        try:
            content = read_file(file, MAX_IMAGE_BYTES)
            # Checks the sums of a PNG without decoding it.
            Image.open(io.BytesIO(content), formats=["PNG"]).verify()
            images.append(content)
        except UserError as error:
            warnings.append(str(error))
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            reason = str(error).partition(" <_io")[0]  # the address of the buffer says nothing
            warnings.append(f"{file}: not an image that can be read ({reason}).")
    return images, warnings


def _read_ids(file: Path) -> list[str]:
    """Ids of the shapes of a list."""
    ids = []
    for number, line in enumerate(_read_text(file).splitlines(), start=1):
        if line.strip():
            found = re.fullmatch(r"(\d+-[\w-]+)\.npy", line.strip(), re.ASCII)
            if not found:
                raise UserError(f"{file}: line {number}: {line.strip()!r}; expected <synset>-<model>.npy.")
            ids.append(found[1])
    if not ids:
        raise UserError(f"{file}: lists no shape.")
    return ids


def _read_names(file: Path) -> dict[str, str]:
    """The names of each synset, as the taxonomy has them."""
    try:
        taxonomy = json.loads(_read_text(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: is not JSON ({error}); download it again.") from None
    if not isinstance(taxonomy, list):
        raise UserError(f"{file}: expected a list of synsets.")
    for number, synset in enumerate(taxonomy):
        for field in ("synsetId", "name"):
            text = synset.get(field) if isinstance(synset, dict) else None
            if not isinstance(text, str) or not text.strip(" ,"):
                raise UserError(f"{file}: entry {number}: has no text as its '{field}'.")
    return {synset["synsetId"]: synset["name"] for synset in taxonomy}


def _read_text(file: Path) -> str:
    try:
        return read_file(file, MAX_CLOUD_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: cannot be read ({error}); download it again.") from None
