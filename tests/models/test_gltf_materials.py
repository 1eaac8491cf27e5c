"""Colours of glTF: factors, textures, vertex colours, opacity, texture transforms and what is black without light."""

import math

import numpy as np
import pytest
from PIL import Image
from support.gltf_seen import color, colors, quarters, read, srgb
from support.gltf_writer import (
    BLUE,
    FLOAT,
    GREEN,
    RED,
    SQUARE_UV,
    UBYTE,
    USHORT,
    YELLOW,
    Gltf,
    four_quarters,
    png,
)

from mrd_hf.models.shape_files import colored_points


WHITE, BLACK = (255, 255, 255), (0, 0, 0)
QUARTERS = [RED, GREEN, BLUE, YELLOW]
GREY = 188  # about half of the light


def light_of(value: int) -> float:
    """Of an sRGB value above 10, by the standard's formula."""
    return ((value / 255 + 0.055) / 1.055) ** 2.4


def square(
    material: dict | None, image: Image.Image | None = None, paint: list | None = None, uv: list = SQUARE_UV, **sampler
) -> Gltf:
    """The square with a material, whose textures are all of `image`, and vertex colours."""
    file = Gltf()
    if image is not None:
        file.texture(png(image), **sampler)
    attributes = {"TEXCOORD_0": file.accessor(uv)}
    if paint is not None:
        attributes["COLOR_0"] = file.accessor(paint)
    primitive = {} if material is None else {"material": file.add("materials", **material)}
    return file.show_mesh(file.square(attributes=attributes, **primitive))


def base(**pbr) -> dict:
    return {"pbrMetallicRoughness": pbr}


TEXTURE = {"index": 0}
TEXTURED = base(baseColorTexture=TEXTURE)


def near(found, expected) -> bool:
    return np.abs(np.array(found, dtype=int) - np.round(expected).astype(int)).max() <= 1


@pytest.mark.parametrize(
    "material", [None, {}, {"name": "x"}, base(), base(metallicFactor=1, roughnessFactor=0), {"doubleSided": True}]
)
def test_what_says_no_colour_is_white_beside_what_does(material):
    file = square(material)
    assert not read(file).is_colored
    red = file.square(material=file.material({"baseColorFactor": [1, 0, 0, 1]}))
    file.json["meshes"][0]["primitives"].append(red)
    assert colors(file) == {WHITE, RED}


def test_a_factor_is_linear_and_a_texture_is_not():
    factor = square(base(baseColorFactor=[0.5, 0.25, 0.001, 1]))
    assert color(factor) == [188, 137, 3] == [srgb(0.5), srgb(0.25), srgb(0.001)]
    assert color(square(TEXTURED, Image.new("RGB", (2, 2), (188, 137, 3)))) == [188, 137, 3]


def test_factors_beyond_the_range_are_clipped_and_three_numbers_are_opaque():
    assert color(square(base(baseColorFactor=[2, -1, 1, 1]))) == [255, 0, 255]
    assert color(square(base(baseColorFactor=[1, 0, 0]))) == [255, 0, 0]
    with pytest.raises(ValueError, match=r"a base colour factor is \[1, 0\]; expected 4 numbers"):
        read(square(base(baseColorFactor=[1, 0])))


@pytest.mark.parametrize(
    ("component", "row"),
    [
        (FLOAT, (0.5, 0.25, 1.0)),
        (FLOAT, (0.5, 0.25, 1.0, 0.3)),
        (UBYTE, (128, 64, 255)),
        (USHORT, (32768, 16384, 65535, 9)),
    ],
)
def test_factor_texture_and_vertex_colours_are_multiplied_in_linear_light(component, row):
    file = Gltf()
    file.texture(png(Image.new("RGB", (2, 2), (GREY, GREY, GREY))))
    paint = file.accessor([row] * 4, component, normalized=component != FLOAT)
    material = file.material({"baseColorFactor": [1, 0.5, 0.5, 1], "baseColorTexture": TEXTURE})
    attributes = {"TEXCOORD_0": file.accessor(SQUARE_UV), "COLOR_0": paint}
    file.show_mesh(file.square(attributes=attributes, material=material))
    grey = light_of(GREY)
    assert near(color(file), [srgb(grey * 0.5), srgb(grey * 0.125), srgb(grey * 0.5)])
    # Without the texture.
    del file.json["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
    assert near(color(file), [srgb(0.5), srgb(0.125), srgb(0.5)])
    # Without a material.
    del file.json["meshes"][0]["primitives"][0]["material"]
    assert near(color(file), [srgb(0.5), srgb(0.25), 255])


def test_vertex_colours_are_interpolated_in_linear_light():
    """From black at the left to white at the right: at x the light is x, and the mean sRGB that of the curve."""
    file = square(None, paint=[(0, 0, 0), (1, 1, 1), (1, 1, 1), (0, 0, 0)])
    xyz, rgb = colored_points(read(file), 3000)
    assert np.abs(rgb[:, 0].astype(int) - [srgb(x) for x in xyz[:, 0]]).max() <= 1
    assert abs(rgb.mean() - np.mean([srgb(x) for x in np.linspace(0, 1, 1000)])) < 4  # 188, where bytes would give 127


def test_so_they_are_on_a_single_triangle():
    """The first half of the square."""
    file = square(None, paint=[(0, 0, 0), (1, 1, 1), (1, 1, 1), (0, 0, 0)])
    primitive = file.json["meshes"][0]["primitives"][0]
    file.json["accessors"][primitive["indices"]]["count"] = 3
    xyz, rgb = colored_points(read(file), 1000)
    assert np.abs(rgb[:, 0].astype(int) - [srgb(x) for x in xyz[:, 0]]).max() <= 1


def test_vertex_colours_that_are_not_numbers_are_white():
    nan = float("nan")
    assert color(square(None, paint=[(nan, 0, 0)] * 4)) == [255, 0, 0]


def with_hole(alpha: int) -> Image.Image:
    """Red of this opacity at the left, opaque green at the right."""
    image = Image.new("RGBA", (8, 8), (*RED, alpha))
    image.paste((*GREEN, 255), (4, 0, 8, 8))
    return image


@pytest.mark.parametrize(
    ("mode", "cutoff", "alpha", "factor", "is_hole"),
    [
        (None, None, 0, 1, False),
        ("OPAQUE", 0.5, 0, 1, False),
        ("OPAQUE", None, 255, 0, False),
        ("MASK", None, 127, 1, True),  # below a half
        ("MASK", None, 128, 1, False),
        ("MASK", 0.25, 64, 1, False),
        ("MASK", 0.25, 63, 1, True),
        ("MASK", 0.8, 203, 1, True),
        ("MASK", 0.8, 205, 1, False),
        ("MASK", 0, 0, 1, False),
        ("MASK", 0.4, 128, 0.81, False),  # 0.5 x 0.81
        ("MASK", 0.4, 128, 0.79, True),
        ("BLEND", None, 1, 1, False),
        ("BLEND", None, 0, 1, True),
    ],
)
def test_holes_are_where_the_opacity_is_below_the_cutoff(mode, cutoff, alpha, factor, is_hole):
    material = base(baseColorTexture=TEXTURE, baseColorFactor=[1, 1, 1, factor])
    material |= {} if mode is None else {"alphaMode": mode}
    material |= {} if cutoff is None else {"alphaCutoff": cutoff}
    assert colors(square(material, with_hole(alpha))) == ({GREEN} if is_hole else {RED, GREEN})


@pytest.mark.parametrize(
    ("mode", "cutoff", "alpha", "is_hole"),
    [
        ("OPAQUE", 0.5, 0, False),
        ("MASK", 0.5, 0.49, True),
        ("MASK", 0.5, 0.51, False),
        ("MASK", 0.25, 0.3, False),
        ("MASK", 0.25, 0.2, True),
        ("MASK", 0.9, 0.85, True),
        ("BLEND", 0.5, 0.01, False),
        ("BLEND", 0.5, 0, True),
    ],
)
@pytest.mark.parametrize("has_texture", [True, False])
def test_vertex_opacity_counts_for_holes_too(mode, cutoff, alpha, is_hole, has_texture):
    """One square of this opacity in red, one that is opaque in green."""
    file = Gltf()
    texture = (
        {"baseColorTexture": {"index": file.texture(png(Image.new("RGBA", (2, 2), "white")))}} if has_texture else {}
    )
    material = file.material(texture, alphaMode=mode, alphaCutoff=cutoff)
    primitives = []
    for paint in ((1, 0, 0, alpha), (0, 1, 0, 1)):
        attributes = {"TEXCOORD_0": file.accessor(SQUARE_UV), "COLOR_0": file.accessor([paint] * 4)}
        primitives.append(file.square(attributes=attributes, material=material))
    assert colors(file.show_mesh(*primitives)) == ({GREEN} if is_hole else {RED, GREEN})


def test_the_opacity_is_that_of_factor_texture_and_vertices_together():
    """0.8 x 0.8 x 0.8 is 0.51, and 0.8 x 0.7 x 0.8 is 0.45."""
    for vertex, expected in ((0.8, {RED, GREEN}), (0.7, {GREEN})):
        material = base(baseColorTexture=TEXTURE, baseColorFactor=[1, 1, 1, 0.8]) | {"alphaMode": "MASK"}
        image = with_hole(204)
        file = square(material, image, [(1, 1, 1, vertex)] * 4)
        assert colors(file) | {GREEN} == expected, vertex


def test_what_is_hardly_opaque_is_seen_where_it_blends_however_it_is_interpolated():
    material = base(baseColorTexture=TEXTURE) | {"alphaMode": "BLEND"}
    file = square(material, Image.new("RGB", (2, 2), RED), [(1, 1, 1, alpha) for alpha in (0, 0.1, 0.1, 0)])
    xyz = colored_points(read(file), 1000).xyz
    assert abs((xyz[:, 0] < 0.5).mean() - 0.5) < 0.05


def test_a_part_that_is_a_hole_all_over_is_not_seen_beside_another():
    file = square(base(baseColorFactor=[1, 0, 0, 0.1]) | {"alphaMode": "MASK"})
    green = file.square(material=file.material({"baseColorFactor": [0, 1, 0, 1]}))
    file.json["meshes"][0]["primitives"].append(green)
    assert colors(file) == {GREEN}


def test_a_surface_that_is_a_hole_all_over_is_shown_all_the_same():
    assert color(square(base(baseColorFactor=[1, 0, 0, 0]) | {"alphaMode": "BLEND"})) == list(RED)


def test_glass_is_a_surface_of_its_base_colour():
    glass = base(baseColorFactor=[0, 0, 1, 1]) | {
        "extensions": {"KHR_materials_transmission": {"transmissionFactor": 1}}
    }
    assert color(square(glass)) == list(BLUE)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ({}, QUARTERS),
        ({"scale": [0.5, 0.5]}, [RED] * 4),
        ({"scale": [0.5, 0.5], "offset": [0.5, 0]}, [GREEN] * 4),
        ({"scale": [0.5, 0.5], "offset": [0, 0.5]}, [BLUE] * 4),
        ({"scale": [0.5, 0.5], "offset": [0.5, 0.5]}, [YELLOW] * 4),
        # The extension's two examples: the lower left quarter, turned; and the origin at the lower left.
        ({"scale": [0.5, 0.5], "offset": [0, 1], "rotation": math.pi / 2}, [BLUE] * 4),
        ({"scale": [1, -1], "offset": [0, 1]}, [BLUE, YELLOW, RED, GREEN]),
        ({"scale": [-1, 1], "offset": [1, 0]}, [GREEN, RED, YELLOW, BLUE]),
        # A quarter turn: (u, v) is at (v, 1 - u), so that the left edge shows the lower one.
        ({"offset": [0, 1], "rotation": math.pi / 2}, [BLUE, RED, YELLOW, GREEN]),
        ({"offset": [1, 0], "rotation": -math.pi / 2}, [GREEN, YELLOW, RED, BLUE]),
        ({"offset": [1, 1], "rotation": math.pi}, [YELLOW, BLUE, GREEN, RED]),
    ],
)
def test_texture_transforms(transform, expected):
    reference = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    assert quarters(square(base(baseColorTexture=reference), four_quarters())) == expected


def test_a_transform_first_scales_then_turns_then_moves():
    """(0.25, 0.75) x (2, 1) is (0.5, 0.75); turned by 30 degrees (0.808, 0.400); moved by (0.1, 0.3) (0.908, 0.7)."""
    transform = {"scale": [2, 1], "rotation": math.pi / 6, "offset": [0.1, 0.3]}
    reference = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    image = Image.new("RGB", (100, 100))
    image.putdata([(column, row, 0) for row in range(100) for column in range(100)])
    assert color(square(base(baseColorTexture=reference), image, uv=[(0.25, 0.75)] * 4)) == [90, 69, 0]


def test_another_set_of_coordinates_and_a_transform_that_chooses_it():
    for reference, expected in (
        ({"index": 0}, GREEN),
        ({"index": 0, "texCoord": 1}, BLUE),
        ({"index": 0, "texCoord": 0, "extensions": {"KHR_texture_transform": {"texCoord": 1}}}, BLUE),
        ({"index": 0, "texCoord": 1, "extensions": {"KHR_texture_transform": {"scale": [1, 1]}}}, BLUE),
        ({"index": 0, "texCoord": 1, "extensions": {"KHR_texture_transform": {"texCoord": 0}}}, GREEN),
    ):
        file = Gltf()
        file.texture(png(four_quarters()))
        attributes = {"TEXCOORD_0": file.accessor([(0.75, 0.25)] * 4), "TEXCOORD_1": file.accessor([(0.25, 0.75)] * 4)}
        material = file.material({"baseColorTexture": reference})
        file.show_mesh(file.square(attributes=attributes, material=material))
        assert color(file) == list(expected), reference


def test_a_set_of_coordinates_that_is_missing_is_a_warning():
    file = square(base(baseColorTexture={"index": 0, "texCoord": 3}, baseColorFactor=[0, 1, 0, 1]), four_quarters())
    assert color(file) == list(GREEN)
    assert read(file).warnings == ["texture without coordinates (TEXCOORD_3): material 0"]


def strip_of_four() -> Image.Image:
    """Red, green, blue and yellow from left to right and, as the square is, the same from top to bottom."""
    image = Image.new("RGB", (4, 1))
    image.putdata([RED, GREEN, BLUE, YELLOW])
    return image


@pytest.mark.parametrize(
    ("wrap", "at"),
    [
        (None, {-0.9: RED, -0.1: YELLOW, 1.1: RED, 1.6: BLUE, 7.4: GREEN}),
        (10497, {-0.9: RED, -0.1: YELLOW, 1.1: RED, 1.6: BLUE, 7.4: GREEN}),
        (33071, {-0.9: RED, -0.1: RED, 0.4: GREEN, 1.1: YELLOW, 7.4: YELLOW}),
        (33648, {-0.9: YELLOW, -0.1: RED, 1.1: YELLOW, 1.6: GREEN, 2.4: GREEN, -1.4: BLUE}),
        (10496, {-0.1: RED, 1.1: YELLOW}),
    ],
)
@pytest.mark.parametrize("axis", ["wrapS", "wrapT"])
def test_wrapping_of_each_axis(wrap, at, axis):
    other = "wrapT" if axis == "wrapS" else "wrapS"
    image = strip_of_four() if axis == "wrapS" else strip_of_four().transpose(Image.Transpose.ROTATE_270)
    for place, expected in at.items():
        uv = (place, 0.5) if axis == "wrapS" else (0.5, place)
        sampler = {other: 33071} | ({} if wrap is None else {axis: wrap})
        assert color(square(TEXTURED, image, uv=[uv] * 4, **sampler)) == list(expected), place


def test_specular_glossiness_counts_by_its_diffuse_colour_before_the_other_workflow():
    gloss = {"diffuseFactor": [0.5, 1, 1, 1], "diffuseTexture": TEXTURE, "specularFactor": [1, 1, 1]}
    material = base(baseColorFactor=[0, 0, 1, 1]) | {"extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}}
    assert near(color(square(material, Image.new("RGB", (2, 2), (255, 255, 0)))), [188, 255, 0])
    # Without a diffuse colour it is white, whatever the other workflow has.
    material["extensions"]["KHR_materials_pbrSpecularGlossiness"] = {"glossinessFactor": 1}
    assert not read(square(material)).is_colored


def test_diffuse_opacity_is_cut_and_diffuse_textures_are_transformed():
    transform = {"KHR_texture_transform": {"scale": [0.5, 1]}}
    gloss = {"diffuseTexture": {"index": 0, "extensions": transform}}
    material = {"alphaMode": "MASK", "extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}}
    assert colors(square(material, with_hole(200))) == {RED}


def test_a_metal_in_specular_glossiness_has_its_specular_colour():
    gold = {"diffuseFactor": [0, 0, 0, 1], "specularFactor": [1, 0.5, 0]}
    plastic = {"diffuseFactor": [0, 0, 0, 1], "specularFactor": [0.04, 0.04, 0.04]}
    textured = {"diffuseFactor": [0, 0, 0, 1], "specularGlossinessTexture": TEXTURE}
    for gloss, expected in ((gold, [255, 188, 0]), (plastic, [0, 0, 0]), (textured, [0, 255, 0])):
        material = {"extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}}
        # The glossiness, in the texture's opacity, makes no holes.
        assert color(square(material | {"alphaMode": "MASK"}, Image.new("RGBA", (2, 2), (*GREEN, 0)))) == expected


def test_unlit_is_the_base_colour():
    unlit = {"extensions": {"KHR_materials_unlit": {}}}
    assert color(square(base(baseColorFactor=[0.5, 0, 0, 1]) | unlit)) == [188, 0, 0]
    assert color(square(base(baseColorFactor=[0, 0, 0, 1]) | unlit | {"emissiveFactor": [1, 0, 0]})) == [0, 0, 0]


BLACK_BASE = base(baseColorFactor=[0, 0, 0, 1])


@pytest.mark.parametrize(
    ("material", "expected"),
    [
        (BLACK_BASE, [0, 0, 0]),
        (BLACK_BASE | {"emissiveFactor": [0.5, 0, 0]}, [188, 0, 0]),
        (BLACK_BASE | {"emissiveFactor": [1, 1, 1], "emissiveTexture": TEXTURE}, [0, 255, 0]),
        (BLACK_BASE | {"emissiveFactor": [1, 0.5, 1], "emissiveTexture": TEXTURE}, [0, 188, 0]),
        # The factor is black if it is not said, and the texture dark.
        (BLACK_BASE | {"emissiveTexture": TEXTURE}, [0, 0, 0]),
        # What has a colour keeps it, although it shines.
        (base(baseColorFactor=[0, 0, 1, 1]) | {"emissiveFactor": [1, 0, 0]}, [0, 0, 255]),
        (base() | {"emissiveFactor": [1, 0, 0]}, None),
        (
            BLACK_BASE
            | {
                "emissiveFactor": [1, 0.5, 0],
                "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 20}},
            },
            [255, 188, 0],
        ),
    ],
)
def test_black_that_shines_has_the_colour_that_it_emits(material, expected):
    file = square(material, Image.new("RGB", (2, 2), GREEN))
    if expected is None:
        assert not read(file).is_colored
    else:
        assert color(file) == expected


def test_a_black_texture_that_shines_has_the_colour_that_it_emits():
    file = square(TEXTURED | {"emissiveFactor": [1, 1, 1], "emissiveTexture": {"index": 1}}, Image.new("RGB", (2, 2)))
    file.texture(png(four_quarters()))
    assert quarters(file) == QUARTERS


def test_vertex_colours_do_not_tint_light_and_its_opacity_counts_if_the_base_has_the_same_texture():
    material = BLACK_BASE | {"emissiveFactor": [1, 1, 1], "emissiveTexture": TEXTURE, "alphaMode": "MASK"}
    assert color(square(material, Image.new("RGB", (2, 2), GREEN), [(1, 0, 0, 1)] * 4)) == [0, 255, 0]
    assert colors(square(material, with_hole(0))) == {RED, GREEN}
    both = base(baseColorFactor=[0, 0, 0, 1], baseColorTexture=TEXTURE)
    assert colors(square(material | both, with_hole(0))) == {GREEN}


def test_a_variant_is_not_chosen_unless_it_is_the_default():
    file = square(base(baseColorFactor=[1, 0, 0, 1]))
    other = file.material({"baseColorFactor": [0, 1, 0, 1]})
    mapping = {"mappings": [{"material": other, "variants": [0]}]}
    file.json["meshes"][0]["primitives"][0]["extensions"] = {"KHR_materials_variants": mapping}
    file.json["extensionsUsed"] = ["KHR_materials_variants"]
    assert color(file) == list(RED) and not read(file).warnings


def test_a_texture_or_a_sampler_that_does_not_exist_is_a_warning_and_a_material_is_an_error():
    file = square(base(baseColorTexture={"index": 4}, baseColorFactor=[0, 1, 0, 1]), four_quarters())
    assert color(file) == list(GREEN)
    assert read(file).warnings == ["texture cannot be read: textures 4 does not exist (there are 1)"]
    file = square(TEXTURED, four_quarters())
    file.json["textures"][0]["sampler"] = 9
    assert read(file).warnings == ["texture cannot be read: samplers 9 does not exist (there are 0)"]
    file.json["meshes"][0]["primitives"][0]["material"] = 3
    with pytest.raises(ValueError, match="materials 3 does not exist"):
        read(file)
