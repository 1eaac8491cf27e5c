"""The page in Chromium: what it says of a shape, by mouse, by keyboard, on a desk and on a phone."""

import io
import json
import struct

import DracoPy
import meshopt
import numpy as np
import pytest
import trimesh
from browser.looks import accessibility_tree, cut_off, faint, nameless
from PIL import ExifTags, Image
from support.compressed_gltf import meshopt_file, packed, shown
from support.gltf_writer import FLOAT, SQUARE_UV, USHORT, Gltf
from support.hostile_uploads import hostile_files
from support.ktx2_writer import ktx2
from support.paths import DEMO_DATA
from support.static_server import static_server
from support.textured_square import quarters, textured_square, write_textured_obj
from support.tiny_gltf import as_glb
from support.widget_page import open_page

from mrd_hf.exporting.onnx_encoder import read_classes
from mrd_hf.models.label_ranking import rank_labels


CHAIR = DEMO_DATA / "shapes/chair.glb"
READ = (".glb", ".gltf", ".obj", ".ply", ".stl", ".npy")


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_mesh_gets_pythons_embedding_and_labels(wide, onnx_encoder, screenshot):
    labels, class_embeds = read_classes(onnx_encoder)
    for file in (CHAIR, DEMO_DATA / "shapes/chair.obj"):
        files = [file] if file.suffix == ".glb" else [file, file.with_suffix(".mtl")]
        wide.give(*files)
        expected = onnx_encoder.embed(onnx_encoder.extractor.point_values(file))[0]
        assert 1 - cosine(wide.embedding, expected) < 1e-3
        ranked = rank_labels(expected, labels, class_embeds, onnx_encoder.config.logit_scale)
        assert wide.labels == [guess["label"] for guess in ranked[:8]]
        shares = [float(text.rstrip("%")) for text in wide.page.locator("#bars li span:last-child").all_inner_texts()]
        np.testing.assert_allclose(shares, [100 * guess["score"] for guess in ranked[:8]], atol=0.15)
    screenshot(wide, "wide")


def test_a_texture_is_decoded_as_in_python(wide, onnx_encoder, tmp_path):
    textured_square(quarters().resize((64, 64))).export(tmp_path / "square.glb")
    wide.give(tmp_path / "square.glb")
    expected = onnx_encoder.embed(onnx_encoder.extractor.point_values(tmp_path / "square.glb"))[0]
    assert 1 - cosine(wide.embedding, expected) < 1e-3
    assert "2 triangles, textured" in wide.page.inner_text("figcaption")


def test_what_is_packed_is_unpacked_in_the_browser(wide, onnx_encoder, tmp_path):
    ball = trimesh.creation.icosphere(3).apply_scale((1, 2, 0.5))
    points, faces = ball.vertices.astype(np.float32), ball.faces.astype(np.uint32)
    data = DracoPy.encode(points, faces, quantization_bits=14)
    (tmp_path / "draco.glb").write_bytes(packed(data, {"POSITION": 0}, {"POSITION": (FLOAT, "VEC3", False)}).glb())
    said = {"count": len(points), "byteStride": 12, "mode": "ATTRIBUTES"}
    file = meshopt_file("EXT_meshopt_compression", [(meshopt.encode_gltf_buffer(points, "ATTRIBUTES", 0), said)])
    position = file.add("accessors", bufferView=0, componentType=FLOAT, count=len(points), type="VEC3")
    indices = file.accessor(faces.reshape(-1).tolist(), USHORT)
    (tmp_path / "meshopt.glb").write_bytes(
        shown(file.show_mesh({"attributes": {"POSITION": position}, "indices": indices}))
    )
    painted = Gltf()
    source = painted.add("images", bufferView=painted.view(ktx2([[(250, 9, 9, 255)], [(9, 250, 9, 255)]])))
    texture = painted.add("textures", extensions={"KHR_texture_basisu": {"source": source}})
    material = painted.material({"baseColorTexture": {"index": texture}})
    uv = {"TEXCOORD_0": painted.accessor(SQUARE_UV)}
    (tmp_path / "ktx2.glb").write_bytes(painted.show_mesh(painted.square(material=material, attributes=uv)).glb())
    for name in ("draco.glb", "meshopt.glb", "ktx2.glb", "draco.glb"):
        wide.give(tmp_path / name)
        shown_faces = "2 triangles, textured" if name == "ktx2.glb" else f"{len(faces):,} triangles"
        assert not wide.problem and shown_faces in wide.page.inner_text("figcaption")
        assert wide.page.inner_text("#warnings") == ""
        expected = onnx_encoder.embed(onnx_encoder.extractor.point_values(tmp_path / name))[0]
        assert 1 - cosine(wide.embedding, expected) < 1e-3


def test_colours_stay_where_a_texture_has_no_opacity(wide, onnx_encoder, tmp_path):
    # Also of a picture that is made smaller.
    for size in (64, 1500):
        image = quarters().resize((size, size)).convert("RGBA")
        image.paste((250, 120, 10, 0), (size // 2, size // 2, size, size))
        image.paste((255, 0, 0, 3), (0, 0, size // 2, size // 2))
        square = textured_square(image)
        square.visual.material.alphaMode = "OPAQUE"
        square.export(tmp_path / "square.glb")
        wide.give(tmp_path / "square.glb")
        expected = onnx_encoder.embed(onnx_encoder.extractor.point_values(tmp_path / "square.glb"))[0]
        assert 1 - cosine(wide.embedding, expected) < 1e-3, size


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_pictures_are_not_turned(wide, onnx_encoder, tmp_path, kind):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = write_textured_obj(tmp_path)
    picture = tmp_path / f"paint.{kind}"
    (tmp_path / "square.mtl").write_text(f"newmtl paint\nKd 0 0 0\nmap_Kd {picture.name}\n")
    quarters().resize((64, 64), Image.Resampling.NEAREST).save(picture, exif=exif, quality=95)
    assert Image.open(picture).getexif()[ExifTags.Base.Orientation] == 6
    wide.give(file, tmp_path / "square.mtl", picture)
    expected = onnx_encoder.embed(onnx_encoder.extractor.point_values(file))[0]
    assert 1 - cosine(wide.embedding, expected) < 3e-4


def test_clouds_of_the_demo_get_pythons_labels(wide, onnx_encoder, collection, tmp_path):
    labels, class_embeds = read_classes(onnx_encoder)
    for row in collection.select(range(0, 200, 20)).with_format("numpy"):
        content = io.BytesIO()
        np.save(content, np.concatenate([row["points"], row["colors"]], axis=1).astype(np.float32))
        (tmp_path / "cloud.npy").write_bytes(content.getvalue())
        wide.give(tmp_path / "cloud.npy")
        expected = onnx_encoder.embed(onnx_encoder.extractor.point_values(tmp_path / "cloud.npy"))[0]
        assert 1 - cosine(wide.embedding, expected) < 1e-3
        ranked = rank_labels(expected, labels, class_embeds, onnx_encoder.config.logit_scale)
        assert wide.labels[0] == ranked[0]["label"]


def test_the_collection_is_searched(wide, collection):
    row = collection.with_format("numpy")[7]
    content = io.BytesIO()
    np.save(content, np.concatenate([row["points"], row["colors"]], axis=1).astype(np.float32))
    wide.give({"name": "seven.npy", "mimeType": "", "buffer": content.getvalue()})
    first = wide.page.locator("#hits li").first
    assert first.inner_text().split("\n")[0].strip() == row["name"] and first.inner_text().endswith("1.00")
    assert first.locator("a").get_attribute("href") == "https://example.org/7"
    assert first.locator("a").get_attribute("target") == "_blank"
    assert wide.page.locator("#hits li").count() == 8


def test_a_file_is_dropped(wide):
    content = list(CHAIR.read_bytes())
    wide.page.evaluate(
        """content => {
            delete document.body.dataset.result;
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(content)], "dropped.glb"));
            document.querySelector("#drop").dispatchEvent(
                new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
        }""",
        content,
    )
    wide.page.wait_for_selector("body[data-result='dropped.glb']")
    assert "chair" in wide.labels[0]


def test_something_is_drawn_and_turned_by_keys(wide):
    wide.give(CHAIR)
    wide.page.locator("#canvas").focus()
    if wide.page.inner_text("#turning") == "Stop turning":
        wide.page.keyboard.press("Space")
    assert wide.page.inner_text("#turning") == "Turn"
    wide.page.wait_for_timeout(700)
    pictures = [wide.page.locator("#canvas").screenshot()]
    assert len(Image.open(io.BytesIO(pictures[0])).convert("RGB").getcolors(2**20) or []) > 20
    for key in ("ArrowRight", "ArrowUp", "+"):
        wide.page.keyboard.press(key)
        wide.page.wait_for_timeout(400)
        pictures.append(wide.page.locator("#canvas").screenshot())
    assert len(set(pictures)) == 4


def test_keys_with_modifiers_are_the_browsers(wide):
    wide.give(CHAIR)
    taken = """([key, held]) => !document.querySelector("#canvas").dispatchEvent(
        new KeyboardEvent("keydown", {key, cancelable: true, ...held}))"""
    for key in ("ArrowLeft", "+", "-", " "):
        for held in ("ctrlKey", "metaKey", "altKey"):
            assert not wide.page.evaluate(taken, [key, {held: True}]), (key, held)
        assert wide.page.evaluate(taken, [key, {"shiftKey": key == "+"}]), key


def test_a_texture_of_many_parts_is_on_the_graphics_card_once(browser, server, tmp_path):
    scene = trimesh.Scene()
    square = textured_square(quarters().resize((100, 60)))
    scene.add_geometry(square, geom_name="square")
    for number in range(1, 12):
        place = trimesh.transformations.translation_matrix([0, 0, number])
        scene.graph.update(frame_to=f"copy{number}", matrix=place, geometry="square")
    scene.export(tmp_path / "copies.glb")
    counting = """
        window.textures = 0;
        const gl = WebGL2RenderingContext.prototype, store = gl.texStorage2D;
        gl.texStorage2D = function (...all) {
            if (all[3] === 100 && all[4] === 60) window.textures++;
            return store.apply(this, all);
        };
    """
    shown = open_page(browser, server, 800, 600, script=counting)
    shown.give(tmp_path / "copies.glb")
    assert "24 triangles, textured" in shown.page.inner_text("figcaption")
    shown.page.wait_for_function("window.textures > 0")
    shown.page.wait_for_timeout(500)
    assert shown.page.evaluate("window.textures") == 1
    # The textures of the shape before are gone, and the same shape has new ones.
    shown.give(tmp_path / "copies.glb")
    shown.page.wait_for_function("window.textures > 1")
    assert shown.page.evaluate("window.textures") == 2 and shown.errors == []
    shown.page.close()


def test_every_control_is_reached_by_keyboard(wide):
    wide.give(CHAIR)
    wide.page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = []
    for _ in range(20):
        wide.page.keyboard.press("Tab")
        reached.append(wide.page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"file", "canvas", "turning", "SUMMARY", "A"} <= set(reached), reached


def ten_million_triangles() -> bytes:
    """Of the same three corners, in 30 MB."""
    gltf = Gltf()
    positions = gltf.accessor([(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    view = gltf.view(bytes((0, 1, 2)) * 10_000_000)
    indices = gltf.add("accessors", bufferView=view, componentType=5121, count=30_000_000, type="SCALAR")
    return gltf.show_mesh({"attributes": {"POSITION": positions}, "indices": indices}).glb()


def hostile() -> dict[str, bytes]:
    files = {name: content for name, (content, _) in hostile_files().items() if name.endswith(READ)}
    whole = CHAIR.read_bytes()
    files |= {f"cut_{size}.glb": whole[:size] for size in (0, 3, 19, 100, 1500, len(whole) - 40)}
    nans = trimesh.creation.box().triangles.astype("<f4") * np.nan
    facets = b"".join(struct.pack("<12x") + facet.tobytes() + b"\0\0" for facet in nans)
    files["nan.stl"] = bytes(80) + struct.pack("<I", len(nans)) + facets
    files["nan.obj"] = b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    files["far.obj"] = b"v 1e400 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    files["flat.stl"] = bytes(80) + struct.pack("<I", 1) + bytes(50)
    files["circle.glb"] = as_glb(
        json.dumps({"asset": {"version": "2.0"}, "nodes": [{"children": [0]}], "scenes": [{"nodes": [0]}]}).encode()
    )
    named = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": 9, "uri": "a" * 20_000_000}]}
    named |= {
        "bufferViews": [{"buffer": 0, "byteLength": 9}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
    }
    named |= {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 1, "type": "VEC3"}]}
    files["long_name.gltf"] = json.dumps(named).encode()
    files["prototype.glb"] = as_glb(b'{"asset": {"version": "2.0"}, "meshes": [{"primitives": [{"attributes": 7}]}]}')
    files["list.ply"] = (
        b"ply\nformat binary_little_endian 1.0\n"
        b"element vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        b"element face 1\nproperty list uint int vertex_indices\nend_header\n" + bytes(12) + b"\xff\xff\xff\x7f"
    )
    files["picture.png"] = b"\x89PNG\r\n\x1a\n"
    return files


def test_hostile_files_leave_the_page_alive_with_a_message(wide):
    for name, content in hostile().items():
        wide.give({"name": name, "mimeType": "", "buffer": content})
        assert wide.problem.startswith(name) and len(wide.problem) < 500, (name, wide.problem)
    wide.give(CHAIR)
    assert not wide.problem and "chair" in wide.labels[0]


def test_ten_million_triangles_are_refused_while_the_page_answers(wide, tmp_path, screenshot):
    file = tmp_path / "large.glb"
    file.write_bytes(ten_million_triangles())
    wide.give(file)
    assert "30,000,000 elements; this page reads at most 6,000,000" in wide.problem
    screenshot(wide, "problem")
    wide.give(CHAIR)
    assert not wide.problem


def test_names_and_labels_are_text(wide):
    wide.give({"name": "<img src=x onerror=alert(1)>.glb", "mimeType": "", "buffer": CHAIR.read_bytes()})
    assert wide.page.inner_text("#name") == "<img src=x onerror=alert(1)>.glb"
    assert wide.page.locator("img").count() == 0


def test_a_phone(narrow, screenshot):
    narrow.give(CHAIR)
    assert narrow.labels
    assert cut_off(narrow.page) == []
    screenshot(narrow, "narrow")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_and_has_a_name(browser, server, scheme):
    shown = open_page(browser, server, 1000, 900, scheme)
    shown.give({"name": "bad.glb", "mimeType": "", "buffer": b"glTF"})
    assert faint(shown.page, 5) == []
    shown.give(CHAIR)
    shown.page.click("summary")
    assert faint(shown.page) == [] and cut_off(shown.page) == [] and nameless(accessibility_tree(shown.page)) == []
    shown.page.close()


def test_it_says_that_nothing_leaves_the_machine(wide):
    assert "Nothing leaves your machine" in wide.page.inner_text("header")


def test_without_isolation_one_thread_computes(browser, site):
    with static_server(site, isolated=False) as (url, asked):
        shown = open_page(browser, url, 800, 600)
        shown.give(CHAIR)
        assert "threads" not in shown.page.inner_text("#runtime") and "chair" in shown.labels[0]
        # What is fetched before the encoder, as it goes over the wire.
        before = {path for path in asked if not path.startswith("/encoder/")}
        sizes = [(site / path.lstrip("/")).stat().st_size for path in before if path != "/"]
        assert sum(sizes) < 12e6
        shown.page.close()
