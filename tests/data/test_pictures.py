"""Pictures of datasets: as `datasets` decodes them, but for those that are made to harm."""

import io

import datasets
import numpy as np
import pytest
from PIL import Image
from support.model_files import ico, run_length_bmp
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.loading import load_triplets
from mrd_hf.data.pictures import decode_picture
from mrd_hf.errors import UserError


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def picture(mode: str) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture("RGB"), "JPEG", exif=exif)


@pytest.mark.parametrize(
    "content",
    [
        *(encoded(picture(mode), "PNG") for mode in ("RGB", "RGBA", "L", "P", "1")),
        *(encoded(picture("RGB"), kind) for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF")),
        *(turned(orientation) for orientation in (1, 3, 6, 8)),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_it_is_what_datasets_makes_of_it(content, as_file, tmp_path):
    (tmp_path / "a").write_bytes(content)
    entry = {"bytes": None if as_file else content, "path": str(tmp_path / "a") if as_file else None}
    found, expected = decode_picture(entry), datasets.Image().decode_example(entry)
    assert found.mode == expected.mode and found.size == expected.size and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"bytes": EPS, "path": None}, "pictures of the format EPS are not read"),
        ({"bytes": ico(), "path": None}, "pictures of the format ICO are not read"),
        ({"bytes": run_length_bmp(), "path": None}, "BMP files that are run-length encoded are not read"),
        ({"bytes": encoded(Image.new("1", (9000, 9000)), "PNG"), "path": None}, "9000 x 9000 pixels"),
        ({"bytes": None, "path": "https://example.org/a.png"}, "is no file here"),
        ({"bytes": None, "path": None}, "has no bytes"),
        ({"bytes": b"no picture", "path": None}, "cannot identify image file"),
    ],
)
def test_what_is_not_decoded(entry, message, monkeypatch):
    for decodes in ("IcoImagePlugin.IcoImageFile.load", "BmpImagePlugin.BmpRleDecoder.decode"):
        monkeypatch.setattr(f"PIL.{decodes}", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises((ValueError, OSError), match=message):
        decode_picture(entry)


def test_training_on_the_fly_names_the_shape_whose_picture_it_cannot_decode(tmp_path):
    rows = load_triplets(save_tiny_triplets(tmp_path), "train").cast_column("images", [datasets.Image(decode=False)])
    spoiled = rows.map(
        lambda row, number: {"images": [{"bytes": EPS, "path": None}]} if number == 3 else {}, with_indices=True
    )
    triplets = TripletDataset(spoiled, 0, False, "tiny")
    assert len(triplets[[(0, 0), (1, 0)]]["images"]) == 2
    with pytest.raises(
        UserError, match=r"tiny: picture 0 of tiny/table-3 cannot be decoded \(pictures of the format EPS"
    ):
        triplets[[(3, 0)]]
