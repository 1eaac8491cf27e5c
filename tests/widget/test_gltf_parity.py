"""GLB files whose materials or containers are unusual, or damaged: the page reads what the Python package reads."""

import json
import re
from typing import Any

import numpy as np
from PIL import Image
from support.gltf_writer import FLOAT, SQUARE, SQUARE_UV, USHORT, Gltf, four_quarters, png
from support.paths import ROOT
from support.tiny_gltf import as_glb, data_uri
from support.widget_parity import assert_same_answers, assert_same_points, input_settings, write_files

from mrd_hf.models.gltf_extensions import HARMLESS, READ
from mrd_hf.models.shape_files import read_shape


GLOSS = "KHR_materials_pbrSpecularGlossiness"
BLACK = Image.new("RGBA", (4, 4), (0, 0, 0, 90))
METAL = Image.new("RGBA", (4, 4), (240, 200, 20, 100))


class Painted:
    """A square with a material, to which pictures are added first; red to its vertices if it is `red`."""

    def __init__(self, red: bool = False) -> None:
        self.gltf = Gltf()
        self.attributes = {"TEXCOORD_0": self.gltf.accessor(SQUARE_UV)}
        if red:
            self.attributes["COLOR_0"] = self.gltf.accessor([(1, 0, 0)] * 4)

    def texture(self, image: Image.Image) -> dict[str, int]:
        return {"index": self.gltf.texture(png(image))}

    def glb(self, base: dict[str, Any] | None = None, **material: Any) -> bytes:
        index = self.gltf.material(base, **material)
        return self.gltf.show_mesh(self.gltf.square(material=index, attributes=self.attributes)).glb()

    def gloss(self, **values: Any) -> dict[str, Any]:
        return {"extensions": {GLOSS: values}}


def test_nulls_count_as_left_out(widget, tmp_path):
    gltf = Gltf()
    positions = gltf.accessor([(0, 0, 0), (2, 0, 0), (0, 1, 0)])
    gltf.show_mesh({"attributes": {"POSITION": positions, "COLOR_0": None}, "indices": None, "material": None})
    assert_same_points(widget, write_files(tmp_path, "glb", {"nulls": gltf.glb()}))


def test_files_that_are_no_glb(widget, tmp_path):
    square = Painted()
    base = {"baseColorTexture": square.texture(four_quarters())}
    square.glb(base)
    (tmp_path / "my data.bin").write_bytes(square.gltf.buffer)
    (tmp_path / "paint.png").write_bytes(png(four_quarters()))
    length = len(square.gltf.buffer)

    def named(uri: str, **changes: Any) -> str:
        return json.dumps({**square.gltf.json, "buffers": [{"byteLength": length, "uri": uri}], **changes})

    texts = {
        "embedded": square.gltf.gltf(),
        "with_a_mark": b"\xef\xbb\xbf" + square.gltf.gltf(),
        "beside": named("my%20data.bin"),
        "as_it_stands": named("my data.bin"),
        "picture_beside": named("my data.bin", images=[{"uri": "textures/paint.png"}]),
        "no_data": named("gone.bin"),
        "no_json": b"\0\0\0\0",
        "cut": square.gltf.gltf()[:-20],
        "a_list": b"[]",
        "nothing": b"null",
    }
    refused = assert_same_answers(widget, write_files(tmp_path, "gltf", texts))
    assert refused.keys() == {"no_data", "no_json", "cut", "a_list", "nothing"}
    assert "gone.bin, which was not dropped with it" in refused["no_data"]


def test_numbers_that_are_none(widget, tmp_path):
    """As JSON has NaN of JavaScript."""
    moved = Gltf()
    moved.show({"mesh": moved.mesh(moved.square()), "matrix": [None] * 16})
    texts = {
        "factor": Painted().glb({"baseColorFactor": [None, None, None, 1]}),
        "matrix": moved.glb(),
    }
    negative = Gltf()
    indices = negative.view(np.array([0, 1, -1], dtype="<i4").tobytes())
    indices = negative.add("accessors", bufferView=indices, componentType=5124, count=3, type="SCALAR")
    texts["negative_index"] = negative.show_mesh(negative.square(indices=indices)).glb()
    refused = assert_same_answers(widget, write_files(tmp_path, "glb", texts))
    assert refused.keys() == texts.keys()


def test_an_empty_surface_beside_points(widget, tmp_path):
    gltf = Gltf()
    places = gltf.accessor([(0, 0, 0), (2, 0, 0), (0, 1, 0)])
    empty = {"attributes": {"POSITION": places}, "indices": gltf.accessor([0, 1], USHORT)}
    glb = gltf.show_mesh(empty, {"attributes": {"POSITION": places}, "mode": 0}).glb()
    assert_same_points(widget, write_files(tmp_path, "glb", {"points": glb}))


def test_the_material_of_an_empty_surface_is_no_colour(widget, tmp_path):
    gltf = Gltf()
    empty = {
        "attributes": {"POSITION": gltf.accessor(SQUARE)},
        "indices": gltf.accessor([0, 1], USHORT),
        "material": gltf.material({"baseColorFactor": [1, 0, 0, 1]}),
    }
    meshes = [gltf.mesh(gltf.square(), empty), gltf.mesh(gltf.square())]
    gltf.show({"mesh": meshes[0], "name": "seat"}, {"mesh": meshes[1], "name": "leg", "translation": [3, 0, 0]})
    (file,) = write_files(tmp_path, "glb", {"empty": gltf.glb()})
    # No part has a colour, so all have the encoder's own for shapes without.
    assert_same_points(widget, [file])
    # Nor is it a part that could be left out.
    widget.prepare([file], input_settings(skip_parts="seat"))
    said = "1 of 2 parts left out, as skip_parts says: seat"
    assert said in widget.warnings[0] and said in read_shape(file, skip_parts="seat").warnings


def test_points_of_all_primitives_are_counted(widget, tmp_path):
    """Two times 1.1 million; the page reads 2 million."""
    gltf = Gltf()
    view = gltf.view(np.random.default_rng(0).random((1_100_000, 3), dtype=np.float32).tobytes())
    places = gltf.add("accessors", bufferView=view, componentType=FLOAT, count=1_100_000, type="VEC3")
    primitive = {"attributes": {"POSITION": places}, "mode": 0}
    (file,) = write_files(tmp_path, "glb", {"many": gltf.show_mesh(primitive, primitive).glb()})
    (answer,) = widget.prepare([file], input_settings())
    assert isinstance(answer, str) and "2,200,000 points" in answer


def test_a_picture_of_many_materials_is_shaded_once_for_each_color(widget, tmp_path):
    gltf, picture = Gltf(), None
    primitives = []
    for color in ([1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [0, 0.5, 1, 0.5]):
        picture = picture if picture is not None else gltf.texture(png(four_quarters()))
        for mode in ("OPAQUE", "BLEND"):
            base = {"baseColorFactor": color, "baseColorTexture": {"index": picture}}
            attributes = {"TEXCOORD_0": gltf.accessor(SQUARE_UV)}
            primitives.append(gltf.square(material=gltf.material(base, alphaMode=mode), attributes=attributes))
    assert_same_points(widget, write_files(tmp_path, "glb", {"shared": gltf.show_mesh(*primitives).glb()}))


def test_indices_that_are_called_normalised_and_numbers_with_a_point(widget, tmp_path):
    gltf = Gltf()
    indices = gltf.accessor([3, 0, 1], USHORT, normalized=True)
    plain = gltf.show_mesh(gltf.square(indices=indices), gltf.square(indices=gltf.accessor([1, 2, 3], USHORT))).glb()
    text = json.dumps(gltf.json | {"buffers": [{"byteLength": len(gltf.buffer)}]})
    pointed = as_glb(re.sub(r"(?<=[\[: ])(\d+)(?=[,}\]])", r"\1.0", text).encode(), bytes(gltf.buffer))
    assert_same_points(widget, write_files(tmp_path, "glb", {"normalized": plain, "pointed": pointed}))


def test_metals_of_specular_glossiness(widget, tmp_path):
    def glb(gloss: dict[str, Any], **material: Any) -> bytes:
        return Painted().glb(extensions={GLOSS: gloss}, **material)

    gold, black = [0.9, 0.7, 0.3], [0, 0, 0, 1]
    metal = {"diffuseFactor": black, "specularFactor": gold}
    textured, both, masked, red = Painted(), Painted(), Painted(), Painted(red=True)
    same = both.texture(BLACK)
    texts = {
        "metal": glb(metal),
        "white_by_default": glb({"diffuseFactor": black, "specularGlossinessTexture": {"index": 9}}),
        "no_metal": glb({"diffuseFactor": black, "specularFactor": [0.04, 0.04, 0.04]}),
        "of_a_color": glb({"diffuseFactor": [0.5, 0, 0, 1], "specularFactor": gold}),
        "nothing": glb({"diffuseFactor": black}),
        "unlit": Painted().glb(extensions={GLOSS: metal, "KHR_materials_unlit": {}}),
        "shining": glb({"diffuseFactor": black, "specularFactor": [0.05] * 3}, emissiveFactor=[0, 0.5, 0]),
        "see_through": glb({**metal, "diffuseFactor": [0, 0, 0, 0.3]}, alphaMode="MASK", alphaCutoff=0.2),
        "textured": textured.glb(
            **textured.gloss(diffuseTexture=textured.texture(BLACK), specularGlossinessTexture=textured.texture(METAL))
        ),
        "holes_of_another": masked.glb(
            alphaMode="MASK",
            **masked.gloss(diffuseTexture=masked.texture(BLACK), specularGlossinessTexture=masked.texture(METAL)),
        ),
        "of_one_picture": both.glb(
            alphaMode="BLEND", **both.gloss(diffuseTexture=same, specularGlossinessTexture=same, specularFactor=gold)
        ),
        "damaged_factor": glb({"diffuseFactor": black, "specularFactor": [1, 2]}),
        "red_vertices": red.glb(**red.gloss(diffuseFactor=[0.2, 0.4, 0.6])),
        "red_vertices_of_a_metal": Painted(red=True).glb(**red.gloss(diffuseFactor=black, specularFactor=gold)),
    }
    refused = assert_same_answers(widget, write_files(tmp_path, "glb", texts))
    assert refused.keys() == {"damaged_factor"}


def test_what_black_materials_emit(widget, tmp_path):
    def glb(**extensions: Any) -> bytes:
        base = {"baseColorFactor": [0, 0, 0, 1]}
        return Painted().glb(base, emissiveFactor=[0.5, 0.2, 0.9], extensions=extensions)

    cut = Painted()
    base = {"baseColorTexture": cut.texture(BLACK)}
    texts = {
        "plain": glb(),
        "weak": glb(KHR_materials_emissive_strength={"emissiveStrength": 0.3}),
        "strong": glb(KHR_materials_emissive_strength={"emissiveStrength": 5}),
        "unlit": glb(KHR_materials_unlit={}),
        "opacity_of_another": cut.glb(
            base, alphaMode="MASK", emissiveFactor=[1, 1, 1], emissiveTexture=cut.texture(METAL)
        ),
    }
    assert_same_points(widget, write_files(tmp_path, "glb", texts))


def test_pictures_that_cannot_be_read(widget, tmp_path):
    def textured(**changes: Any) -> bytes:
        """A square of which the texture's parts are replaced."""
        square = Painted()
        base = {"baseColorFactor": [0.2, 0.5, 0.9, 1], "baseColorTexture": square.texture(four_quarters())}
        for name, items in changes.items():
            square.gltf.json[name] = items
        return square.glb(base)

    picture = png(four_quarters())
    (tmp_path / "100%_cotton.png").write_bytes(picture)
    (tmp_path / "my picture.png").write_bytes(picture)
    broken = Painted()
    broken.gltf.texture(b"no picture")
    webp = Painted()
    source = webp.texture(four_quarters())["index"]
    webp.gltf.json["textures"][source]["extensions"] = {"EXT_texture_webp": {"source": 1}}
    webp.gltf.add("images", bufferView=webp.gltf.view(b"RIFFdamaged"))
    texts = {
        "no_such_view": textured(images=[{"bufferView": 99}]),
        "no_such_image": textured(images=[]),
        "no_such_texture": textured(textures=[]),
        "no_such_sampler": textured(textures=[{"source": 0, "sampler": 4}]),
        "neither_view_nor_uri": textured(images=[{}]),
        "no_base64": textured(images=[{"uri": "data:image/png;base64,!!!!"}]),
        "percent_sign": textured(images=[{"uri": "100%_cotton.png"}]),
        "percent_encoded": textured(images=[{"uri": "my%20picture.png?v=1#here"}]),
        "not_there": textured(images=[{"uri": "50%/none.png"}]),
        "data": textured(images=[{"uri": data_uri(picture, "image/png").replace("data:", "DATA:").rstrip("=")}]),
        "no_picture": broken.glb({"baseColorTexture": {"index": 0}}),
        "another_encoding_is_broken": webp.glb({"baseColorTexture": {"index": source}}),
    }
    assert_same_points(widget, write_files(tmp_path, "glb", texts))


def test_containers(widget, tmp_path):
    def triangle(component: int, scale: int = 1) -> Gltf:
        gltf = Gltf()
        rows = [(0, 0, 0), (2 * scale, 0, 0), (0, scale, 0)]
        return gltf.show_mesh({"attributes": {"POSITION": gltf.accessor(rows, component)}})

    plain = triangle(USHORT)
    body = bytes(plain.buffer)
    head = json.dumps({**plain.json, "buffers": [{"byteLength": len(body)}]}).encode()
    head += b" " * (-(len(head) + 1) % 4)  # three bytes more than a multiple of four
    odd = len(head)
    second = {**plain.json, "buffers": [{"byteLength": len(body)}] * 2}
    second["bufferViews"] = [{**view, "buffer": 1} for view in plain.json["bufferViews"]]

    def changed(gltf: Gltf, **items: Any) -> bytes:
        gltf.json.update(items)
        return gltf.glb()

    (tmp_path / "my body.bin").write_bytes(body)
    texts = {
        "data_beside": as_glb(json.dumps({**plain.json, "buffers": [{"uri": "my%20body.bin"}]}).encode()),
        "data_missing": as_glb(json.dumps({**plain.json, "buffers": [{"uri": "none.bin"}]}).encode()),
        "version": changed(triangle(USHORT), asset={"version": "3.0"}),
        "least_version": changed(triangle(USHORT), asset={"version": "2.1", "minVersion": "2.1"}),
        "unknown": changed(triangle(USHORT), extensionsRequired=["SOME_new_thing"]),
        "harmless": changed(triangle(USHORT), extensionsRequired=["KHR_lights_punctual", "KHR_texture_transform"]),
        "no_numbers": changed(triangle(USHORT), extras={"NaN": [float("nan"), -float("inf")], "a": '\\"NaN'}),
        "integers": triangle(5124).glb(),
        "doubles": triangle(5130).glb(),
        "halves": triangle(5131).glb(),
        "padding_that_is_not_counted": as_glb(head, body, json_length=odd),
        "zeros_after_the_json": as_glb(head + b"\0", body),
        "a_second_buffer": as_glb(json.dumps(second).encode(), body),
    }
    refused = assert_same_answers(widget, write_files(tmp_path, "glb", texts))
    assert refused.keys() == {"a_second_buffer", "data_missing", "version", "least_version", "unknown"}
    assert "SOME_new_thing" in refused["unknown"] and "not dropped with it" in refused["data_missing"]


def test_the_page_knows_the_extensions_that_python_knows():
    text = (ROOT / "scripts/widget/src/readers/gltf_extensions.ts").read_text(encoding="utf-8")
    assert [name for name in (*READ, *HARMLESS) if f'"{name}"' not in text and name != GLOSS] == []


def test_nodes_and_instances(widget, tmp_path):
    lesser = Gltf()
    mesh = lesser.mesh(lesser.square())
    for node in ({"extensions": {"MSFT_lod": {"ids": [1]}}}, {"translation": [5, 0, 0]}):
        lesser.add("nodes", mesh=mesh, **node)
    placed = Gltf()
    places = {"TRANSLATION": placed.accessor([(0, 0, 0), (3, 0, 0)]), "SCALE": placed.accessor([(1, 1, 1)])}
    many = {"EXT_mesh_gpu_instancing": {"attributes": places}}
    placed.show({"mesh": placed.mesh(placed.square()), "extensions": many})
    texts = {"less_detail": lesser.glb(), "of_two_counts": placed.glb()}
    refused = assert_same_answers(widget, write_files(tmp_path, "glb", texts))
    assert refused.keys() == {"of_two_counts"}


def test_points_take_the_texture_and_are_cut_by_it(widget, tmp_path):
    holed = four_quarters().convert("RGBA")
    holed.paste((9, 9, 9, 0), (0, 0, 4, 4))
    rows = [(0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8)]
    texts = {}
    for mode in ("OPAQUE", "MASK", "BLEND"):
        for name, image in (("textured", holed), ("tinted", None)):
            points = Gltf()
            base = {"baseColorFactor": [0.5, 0.9, 1, 1]}
            if image:
                base["baseColorTexture"] = {"index": points.texture(png(image))}
            colors = [(1, 0, 0, 0.2), (0, 1, 0, 1), (0, 0, 1, 0.6), (1, 1, 0, 0)]
            attributes = {"POSITION": points.accessor(SQUARE), "TEXCOORD_0": points.accessor(rows)}
            if name == "tinted":
                attributes["COLOR_0"] = points.accessor(colors)
            material = points.material(base, alphaMode=mode)
            points.show_mesh({"attributes": attributes, "mode": 0, "material": material})
            texts[f"{name}_{mode}"] = points.glb()
    assert_same_points(widget, write_files(tmp_path, "glb", texts))
