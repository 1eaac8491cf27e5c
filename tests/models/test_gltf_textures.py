"""Pictures in glTF, of every encoding: what a texture's texels are, and what is said of those that cannot be read."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from support.gltf_seen import color, colors, quarters, read
from support.gltf_writer import (
    BLUE,
    GREEN,
    RED,
    SQUARE_UV,
    YELLOW,
    Gltf,
    encoded,
    four_quarters,
    png,
)
from support.ktx2_writer import ktx2

from mrd_hf.models.shape_files import colored_points
from mrd_hf.models.textures import MAX_TEXTURE_SIZE


QUARTERS = [RED, GREEN, BLUE, YELLOW]


def square(image: bytes, uv: list = SQUARE_UV, **material) -> Gltf:
    """The square with an encoded picture on it."""
    file = Gltf()
    base = {"baseColorTexture": {"index": file.texture(image)}}
    attributes = {"TEXCOORD_0": file.accessor(uv)}
    return file.show_mesh(file.square(attributes=attributes, material=file.material(base, **material)))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TGA", "TIFF", "QOI", "DDS"])
def test_pictures_without_loss(kind):
    if kind == "QOI" and "QOI" not in Image.SAVE:
        pytest.skip("this Pillow does not write QOI")
    assert quarters(square(encoded(four_quarters(), kind))) == QUARTERS


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 95}),
    ],
)
def test_pictures_that_are_compressed(kind, options):
    image = four_quarters(64)
    means = quarter_means(square(encoded(image, kind, **options)))
    assert np.abs(means - QUARTERS).max() <= 8


def quarter_means(file: Gltf) -> np.ndarray:
    """Mean colours of the four quarters, away from their edges."""
    xyz, rgb = colored_points(read(file), 2000)
    found = []
    for y, x in ((0.75, 0.25), (0.75, 0.75), (0.25, 0.25), (0.25, 0.75)):
        found.append(rgb[np.abs(xyz[:, :2] - (x, y)).max(axis=1) < 0.1].mean(axis=0))
    return np.array(found)


def test_a_jpeg_of_cmyk_as_photoshop_writes_it():
    """Inverted, and said to be so by Adobe's marker, which Pillow writes."""
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan: red
    assert np.abs(np.array(color(square(encoded(image, "JPEG", quality=100)))) - RED).max() <= 3


def test_the_orientation_in_exif_is_ignored():
    image = four_quarters(64)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    means = quarter_means(square(encoded(image, "JPEG", quality=95, subsampling=0, exif=exif)))
    assert np.abs(means - QUARTERS).max() <= 8


def chunked(data: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:33] + chunk + data[33:]


def test_gamma_and_chromaticities_are_ignored():
    grey = png(Image.new("RGB", (2, 2), (100, 100, 100)))
    for kind, content in ((b"gAMA", struct.pack(">I", 100_000)), (b"cHRM", struct.pack(">8I", *[30_000] * 8))):
        assert color(square(chunked(grey, kind, content))) == [100, 100, 100]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (2, 2), 1), {(255, 255, 255)}),
        (Image.new("L", (2, 2), 90), {(90, 90, 90)}),
        (Image.new("LA", (2, 2), (90, 0)), {(90, 90, 90)}),
        (Image.new("P", (2, 2), 0), {(0, 0, 0)}),
        (Image.fromarray(np.full((2, 2), 0x8000, dtype=np.uint16)), {(127, 127, 127)}),
        (Image.fromarray(np.full((2, 2), 65535, dtype=np.uint16)), {(255, 255, 255)}),
    ],
)
def test_pictures_of_every_mode(image, expected):
    assert colors(square(png(image))) == expected


def test_a_png_of_16_bits_a_channel():
    """Written by hand, since Pillow does not: 2 x 1 texels of red 0xC8FF, green 0x6400, blue 0x3280."""
    header = struct.pack(">2I5B", 2, 1, 16, 2, 0, 0, 0)
    rows = b"\0" + struct.pack(">6H", *[0xC8FF, 0x6400, 0x3280] * 2)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    assert color(square(data)) == [200, 100, 50]


def palette(transparency: bytes | int) -> bytes:
    """Red at the left, green at the right, by a palette."""
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putdata([0, 1])
    return png(image, transparency=transparency)


@pytest.mark.parametrize(
    ("transparency", "expected"), [(0, {GREEN}), (b"\x10\xff", {GREEN}), (b"\xff\xff", {RED, GREEN})]
)
def test_transparency_of_a_palette_cuts_holes(transparency, expected):
    assert colors(square(palette(transparency), alphaMode="MASK")) == expected
    assert colors(square(palette(transparency))) == {RED, GREEN}


def test_a_transparent_colour_of_a_png_without_opacity_cuts_holes():
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), GREEN)
    assert colors(square(png(image, transparency=RED), alphaMode="MASK")) == {GREEN}


def test_colours_under_what_is_transparent_are_kept_where_opacity_does_not_count():
    """In a large picture too, which is made smaller: opacity is used for other things, as gloss."""
    size = MAX_TEXTURE_SIZE * 2
    image = Image.new("RGBA", (size, 8), (200, 100, 50, 0))
    image.paste((50, 100, 200, 3), (size // 2, 0, size, 8))
    file = square(png(image), uv=[(0.25, 0.5), (0.75, 0.5), (0.75, 0.5), (0.25, 0.5)])
    # But for a few columns where the two meet.
    rgb = colored_points(read(file), 1000).rgb.astype(int)
    apart = np.minimum(*(np.abs(rgb - each).max(axis=1) for each in ((200, 100, 50), (50, 100, 200))))
    assert (apart == 0).mean() > 0.98 and apart.max() < 80


def test_a_large_picture_keeps_its_cut_outs():
    size = MAX_TEXTURE_SIZE * 2
    image = Image.new("RGBA", (size, 8), (*RED, 0))
    image.paste((*GREEN, 255), (size // 2, 0, size, 8))
    file = square(png(image), uv=[(0.1, 0.5), (0.9, 0.5), (0.9, 0.5), (0.1, 0.5)], alphaMode="MASK")
    rgb = colored_points(read(file), 1000).rgb.astype(int)
    assert (rgb == GREEN).all(axis=1).mean() > 0.98


def test_a_texel_is_shown_at_its_centre():
    """A texture of 16 x 16 different texels, with coordinates at the centre of each."""
    image = Image.new("RGB", (16, 16))
    image.putdata([(16 * column, 16 * row, 7) for row in range(16) for column in range(16)])
    data = png(image)
    for column, row in ((0, 0), (15, 0), (0, 15), (15, 15), (3, 12), (8, 8)):
        uv = [((column + 0.5) / 16, (row + 0.5) / 16)] * 4
        assert color(square(data, uv=uv)) == [16 * column, 16 * row, 7]


@pytest.mark.parametrize(("place", "expected"), [((0, 0), RED), ((1, 0), GREEN), ((0, 1), BLUE), ((1, 1), YELLOW)])
def test_a_surface_that_lies_on_a_corner_of_the_picture(place, expected):
    file = Gltf()
    material = file.material({"baseColorTexture": {"index": file.texture(png(four_quarters()))}})
    uv = file.accessor([place] * 4)
    assert color(file.show_mesh(file.square(attributes={"TEXCOORD_0": uv}, material=material))) == list(expected)


def test_the_mean_over_a_gradient():
    """Columns from 0 to 255: points have the column that they are in, and the mean is the middle."""
    image = Image.new("L", (256, 1))
    image.putdata(range(256))
    xyz, rgb = colored_points(read(square(png(image))), 4000)
    np.testing.assert_array_equal(rgb[:, 0], np.floor(xyz[:, 0] * 256).clip(0, 255))
    assert abs(rgb.mean() - 127.5) < 5


@pytest.mark.parametrize("columns", [2, 10, 40, 100])
def test_holes_take_no_points_and_the_rest_gets_them_all(columns):
    image = Image.new("RGBA", (columns, 1), (0, 0, 0, 0))
    image.putpixel((0, 0), (*GREEN, 255))
    xyz, rgb = colored_points(read(square(png(image), alphaMode="MASK")), 500)
    assert len(xyz) == len(rgb) == 500 and (rgb == GREEN).all()
    assert (xyz[:, 0] < 1 / columns + 1e-9).all() and len(np.unique(xyz, axis=0)) == 500


@pytest.mark.parametrize(
    ("extension", "kind"),
    [("EXT_texture_webp", "WEBP"), ("MSFT_texture_dds", "DDS"), ("EXT_texture_avif", "AVIF")],
)
@pytest.mark.parametrize("has_fallback", [True, False])
def test_other_encodings_by_their_extension(extension, kind, has_fallback):
    if kind not in Image.SAVE and kind == "AVIF":
        pytest.skip("this Pillow has no AVIF")
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}.get(kind, {})
    file = square(png(Image.new("RGB", (8, 8), BLUE)))
    if not has_fallback:
        del file.json["textures"][0]["source"]
    other = file.add("images", bufferView=file.view(encoded(Image.new("RGB", (8, 8), GREEN), kind, **options)))
    file.json["textures"][0]["extensions"] = {extension: {"source": other}}
    file.json["extensionsUsed"] = file.json["extensionsRequired"] = [extension]
    assert np.abs(np.array(color(file)) - GREEN).max() <= 3
    assert not read(file).warnings
    # Where it cannot be read, the other one counts, with a word.
    file.json["images"][other] = {"uri": "missing"}
    assert read(file).warnings == ["file not found: missing"]
    if has_fallback:
        assert color(file) == list(BLUE)


def basis(data: bytes, fallback: bytes | None = None) -> Gltf:
    file = square(fallback or data)
    if fallback is None:
        del file.json["textures"][0]["source"]
        source = 0
    else:
        source = file.add("images", bufferView=file.view(data), mimeType="image/ktx2")
    file.json["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": source}}
    file.json["extensionsUsed"] = file.json["extensionsRequired"] = ["KHR_texture_basisu"]
    return file


def test_ktx2_is_read_by_the_extra_formats():
    pytest.importorskip("opengl_basisu")
    blocks = [[(*RED, 255), (*GREEN, 255)], [(*BLUE, 255), (*YELLOW, 255)]]
    assert quarters(basis(ktx2(blocks))) == QUARTERS
    holes = basis(ktx2([[(*RED, 0), (*GREEN, 255)]]))
    assert colors(holes) == {RED, GREEN}
    holes.json["materials"][0]["alphaMode"] = "MASK"
    assert colors(holes) == {GREEN}
    # A picture is known by its content.
    assert quarters(square(ktx2(blocks))) == QUARTERS


@pytest.mark.parametrize(
    "damage", [lambda data: data[:60], lambda data: data[:-8], lambda data: data[:12] + bytes(90)]
)
def test_a_damaged_ktx2_is_a_warning(damage):
    pytest.importorskip("opengl_basisu")
    (warning,) = read(basis(damage(ktx2([[(*RED, 255)]])))).warnings
    assert warning.startswith("texture cannot be read: image 0 inside the file (")


def test_without_the_extra_ktx2_is_a_warning_that_says_so_and_a_picture_beside_it_counts(monkeypatch):
    monkeypatch.setitem(sys.modules, "opengl_basisu", None)
    data = ktx2([[(*RED, 255)]])
    (warning,) = read(basis(data)).warnings
    assert "image 0 inside the file (it is stored as KTX2; pip install 'mrd-hf[formats]' to read it)" in warning
    both = basis(data, fallback=png(four_quarters()))
    assert quarters(both) == QUARTERS and not read(both).warnings


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no picture that Pillow knows"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture that Pillow knows"),
        (png(four_quarters())[:50], "image 0 inside the file ("),
    ],
)
def test_what_is_no_picture_is_a_warning(data, message):
    file = square(data)
    (warning,) = read(file).warnings
    assert warning.startswith("texture cannot be read: image 0 inside the file") and message in warning
    assert not read(file).is_colored or color(file) == [255, 255, 255]


def test_the_first_frame_of_an_animation_is_the_texture():
    frames = [Image.new("RGB", (2, 2), RED), Image.new("RGB", (2, 2), GREEN)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert color(square(buffer.getvalue())) == list(RED)
