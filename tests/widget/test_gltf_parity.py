"""GLB files whose materials or containers are unusual, or damaged: the page reads what the Python package reads."""

import json
from pathlib import Path
from typing import Any

from PIL import Image
from support.gltf_writer import SQUARE_UV, USHORT, Gltf, four_quarters, png
from support.tiny_gltf import as_glb, data_uri
from support.widget_parity import assert_same_answers, assert_same_points


GLOSS = "KHR_materials_pbrSpecularGlossiness"
BLACK = Image.new("RGBA", (4, 4), (0, 0, 0, 90))
METAL = Image.new("RGBA", (4, 4), (240, 200, 20, 100))


class Painted:
    """A square with a material, whose pictures are counted as they are added."""

    def __init__(self, **attributes: Any) -> None:
        self.gltf = Gltf()
        self.attributes = {"TEXCOORD_0": self.gltf.accessor(SQUARE_UV), **attributes}

    def texture(self, image: Image.Image) -> dict[str, int]:
        return {"index": self.gltf.texture(png(image))}

    def glb(self, base: dict[str, Any] | None = None, **material: Any) -> bytes:
        index = self.gltf.material(base, **material)
        return self.gltf.show_mesh(self.gltf.square(material=index, attributes=self.attributes)).glb()

    def gloss(self, **values: Any) -> dict[str, Any]:
        return {"extensions": {GLOSS: values}}


def write(folder: Path, texts: dict[str, bytes]) -> list[Path]:
    files = [folder / f"{name}.glb" for name in texts]
    for file, text in zip(files, texts.values(), strict=True):
        file.write_bytes(text)
    return files


def test_nulls_count_as_left_out(widget, tmp_path):
    gltf = Gltf()
    positions = gltf.accessor([(0, 0, 0), (2, 0, 0), (0, 1, 0)])
    gltf.show_mesh({"attributes": {"POSITION": positions, "COLOR_0": None}, "indices": None, "material": None})
    assert_same_points(widget, write(tmp_path, {"nulls": gltf.glb()}))


def test_metals_of_specular_glossiness(widget, tmp_path):
    def glb(gloss: dict[str, Any], **material: Any) -> bytes:
        return Painted().glb(extensions={GLOSS: gloss}, **material)

    gold, black = [0.9, 0.7, 0.3], [0, 0, 0, 1]
    textured, both, masked, hidden = Painted(), Painted(), Painted(), Painted()
    same = both.texture(BLACK)
    texts = {
        "metal": glb({"diffuseFactor": black, "specularFactor": gold}),
        "white_by_default": glb({"diffuseFactor": black, "specularGlossinessTexture": {"index": 9}}),
        "no_metal": glb({"diffuseFactor": black, "specularFactor": [0.04, 0.04, 0.04]}),
        "of_a_color": glb({"diffuseFactor": [0.5, 0, 0, 1], "specularFactor": gold}),
        "nothing": glb({"diffuseFactor": black}),
        "unlit": Painted().glb(extensions={GLOSS: {"diffuseFactor": black, "specularFactor": gold}, "KHR_materials_unlit": {}}),
        "shining": glb({"diffuseFactor": black, "specularFactor": [0.05] * 3}, emissiveFactor=[0, 0.5, 0]),
        "see_through": glb({"diffuseFactor": [0, 0, 0, 0.3], "specularFactor": gold}, alphaMode="MASK", alphaCutoff=0.2),
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
        "colored_by_vertices": hidden.glb(**hidden.gloss(diffuseFactor=[0.2, 0.4, 0.6])),
    }
    refused = assert_same_answers(widget, write(tmp_path, texts))
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
    assert_same_points(widget, write(tmp_path, texts))


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
    assert_same_points(widget, write(tmp_path, texts))


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
    texts = {
        "integers": triangle(5124).glb(),
        "doubles": triangle(5130).glb(),
        "halves": triangle(5131).glb(),
        "padding_that_is_not_counted": as_glb(head, body, json_length=odd),
        "zeros_after_the_json": as_glb(head + b"\0", body),
        "a_second_buffer": as_glb(json.dumps(second).encode(), body),
    }
    refused = assert_same_answers(widget, write(tmp_path, texts))
    assert refused.keys() == {"a_second_buffer"}
