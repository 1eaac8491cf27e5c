"""The pictures of a collection that is untrusted input: what its rows name is not published, only what they hold."""

import io
import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, List, Value
from PIL import EpsImagePlugin, Image
from support.tiny_triplets import tiny_rows

from mrd_hf.app.collection import Collection
from mrd_hf.data.schema import triplet_features
from mrd_hf.errors import UserError


SECRET = "the token of this machine"


def save_collection(folder: Path, pictures: list[list[dict | None]]) -> str:
    """A dataset of two row groups with these lists of pictures, as they are: `to_parquet` might embed files."""
    features = triplet_features()
    rows = [{**row, "images": images} for row, images in zip(tiny_rows(len(pictures)), pictures, strict=True)]
    rows = [{name: row[name] for name in features} for row in rows]
    (folder / "data").mkdir(parents=True)
    table = Dataset.from_list(rows, features).data.table
    pq.write_table(table, folder / "data" / "test-00000-of-00001.parquet", row_group_size=len(pictures) // 2 + 1)
    return str(folder)


def picture(image: Image.Image, kind: str = "PNG", **options) -> dict:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture
def shown(tmp_path) -> Path:
    folder = tmp_path / "shown"
    folder.mkdir()
    return folder


def test_files_that_rows_name_are_never_shown(tmp_path, shown, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "c"
    here, outside = folder / "data" / "secret.png", tmp_path / "secret.png"
    good = picture(Image.new("RGB", (4, 4), "red"))
    named = [[{"bytes": None, "path": str(path)}] for path in (here, outside, "secret.png", "data/secret.png")]
    name = save_collection(folder, [[], [good], *named, [None], [{"bytes": None, "path": None}], [good, good]])
    for path in (here, outside):
        path.write_text(SECRET)
    collection = Collection(name, shown)
    assert collection.ids == [row["id"] for place, row in enumerate(tiny_rows(9)) if place in (1, 8)]
    assert collection.is_held_out == [True, True] and len(collection.shapes) == 2
    for row in range(2):
        assert Image.open(collection.picture(row)).getpixel((0, 0)) == (255, 0, 0)
    assert all(SECRET.encode() not in file.read_bytes() for file in shown.iterdir())
    paths_alone = Path(save_collection(tmp_path / "paths", [[good]]))
    (file,) = (paths_alone / "data").iterdir()
    features = Features({**triplet_features(), "images": List(Value("string"))})
    table = pq.read_table(file).drop_columns("images").append_column("images", [[[str(outside)]]])
    pq.write_table(table.select(list(features)).cast(features.arrow_schema), file)
    for folder in (save_collection(tmp_path / "d", named), str(paths_alone)):
        with pytest.raises(UserError, match="no shape has a picture in the column 'images'.* a path alone is not"):
            Collection(folder, shown)


def test_pictures_are_encoded_again_and_small_enough(tmp_path, shown):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    hidden = picture(Image.fromarray(pixels))
    hidden["bytes"] += SECRET.encode()  # which viewers of pictures pass over
    half = Image.new("RGBA", (2, 1), (0, 0, 255, 255))
    half.putpixel((1, 0), (0, 0, 255, 0))
    large = Image.new("RGB", (3000, 1500), "green")
    pictures = [[hidden], [picture(half)], [picture(large, "JPEG")], [picture(large, "WEBP")]]
    collection = Collection(save_collection(tmp_path / "c", pictures), shown)
    paths = [Path(collection.picture(row)) for row in range(len(pictures))]
    seen = [Image.open(path, formats=["PNG"]) for path in paths]
    assert (np.asarray(seen[0]) == pixels).all() and SECRET.encode() not in paths[0].read_bytes()
    assert [seen[1].getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 255), (255, 255, 255)]  # as a teacher sees it
    assert [image.size for image in seen[2:]] == [(1024, 512)] * 2
    before = paths[0].stat().st_mtime_ns
    assert collection.picture(0) == str(paths[0]) and paths[0].stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (SECRET.encode(), "cannot identify"),
        (picture(Image.new("L", (4, 4)), "EPS")["bytes"], "cannot identify"),
        (picture(Image.fromarray(np.eye(64, dtype=np.uint8)))["bytes"][:60], "trunca"),
        (None, "pixels"),
    ],
    ids=["text", "eps", "cut", "huge"],
)
def test_a_picture_that_cannot_be_read_costs_no_page(tmp_path, shown, monkeypatch, caplog, content, reason):
    """A search whose results have it shows a plain one."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("EPS is a program"))
    bad = {"bytes": content or picture(Image.new("1", (8200, 8200)))["bytes"], "path": None}
    rows = [[bad], [picture(Image.new("RGB", (4, 4), "red"))]]
    collection = Collection(save_collection(tmp_path / "c", rows), shown)
    with caplog.at_level(logging.WARNING):
        plain, red = (Image.open(collection.picture(row), formats=["PNG"]) for row in range(2))
    assert len(plain.getcolors()) == 1 and red.getpixel((0, 0)) == (255, 0, 0)
    (record,) = [record for record in caplog.records if record.name.startswith("mrd_hf")]
    assert collection.ids[0] in record.message and reason in record.message and "0x" not in record.message
