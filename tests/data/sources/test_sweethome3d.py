import io
import json
import zipfile

import numpy as np
import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageFile
from support.tiny_sh3f import png, tiny_files, write_library

from mrd_hf.data.sources.sweethome3d import (
    FurnitureLibrary,
    find_license,
    parse_properties,
    prepare_sweethome3d,
    sweethome3d_features,
)
from mrd_hf.errors import UserError


@pytest.fixture
def library(tmp_path):
    return write_library(tmp_path / "Tiny.sh3f")


def prepare(library, out, **options):
    report = prepare_sweethome3d([library], out, **{"num_points": 256, **options})
    return report, load_dataset(str(out), split="train")


def test_rows_follow_the_schema(library, tmp_path):
    report, data = prepare(library, tmp_path / "out")
    assert data.features == sweethome3d_features()
    assert data["id"][:] == ["Tiny/box", "Tiny/turned", "Tiny/bare"]
    assert set(data["source"]) == {"sweethome3d"} and set(data["license"]) == {"CC-BY-3.0-US"}
    row = data[0]
    assert (row["name"], row["model"]) == ("Boîte 5€", "/tiny/box/box.obj")
    assert (row["category"], row["catalog_category"]) == (None, "Kitchen")  # which says where, not what
    assert row["texts"] == [
        {"text": "Boîte 5€", "source": "name"},
        {"text": "boîte 5€, crate, storage", "source": "caption"},
    ]
    assert data["creator"][:] == ["Bob, Ann Author", "Ann Author", "Ann Author"]
    assert row["images"][0].size == (4, 4)
    points = np.array(row["points"])
    assert points.shape == (256, 3) and np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=2e-3)
    assert (np.array(row["colors"]) == (255, 128, 0)).all()
    assert report["prepared"] == 3 and report == json.loads((tmp_path / "out" / "report.json").read_text())


def test_model_rotation_is_applied(library, tmp_path):
    _, data = prepare(library, tmp_path / "out", num_points=2048)
    upright, turned = (np.ptp(np.array(data[index]["points"]), axis=0) for index in (0, 1))
    assert upright / upright.max() == pytest.approx([0.5, 0.25, 1], abs=0.03)
    # x' = y and y' = -x: the box stands on its side.
    assert turned / turned.max() == pytest.approx([0.25, 0.5, 1], abs=0.03)


def test_model_rotation_is_row_major(tmp_path):
    files = tiny_files()
    files["tiny/turned/box.obj"] = b"v 0 0 0\nv 1 0 0\nv 0 0 1\nf 1 2 3\n"
    library = FurnitureLibrary(write_library(tmp_path / "Tiny.sh3f", files))
    (part,) = library.load_mesh(library.entries[1]).parts
    assert part.triangles[0].tolist() == [[0, 0, 0], [0, -1, 0], [0, 0, 1]]


def test_a_model_without_colors_is_the_grey_that_encoders_see(tmp_path):
    """0.4, as the feature extractor makes of the same file."""
    files = tiny_files()
    files["tiny/turned/box.obj"] = b"v 0 0 0\nv 1 0 0\nv 0 0 1\nf 1 2 3\n"
    _, data = prepare(write_library(tmp_path / "Tiny.sh3f", files), tmp_path / "out")
    assert np.unique(data[1]["colors"]).tolist() == [102]


def test_what_cannot_be_used_is_skipped_and_listed(library, tmp_path):
    report, _ = prepare(library, tmp_path / "out")
    (skipped,) = report["skipped"]
    assert skipped["id"] == "Tiny/empty" and "Tiny.sh3f:/tiny/empty/empty.obj: 3 points and no face" in skipped["why"]
    assert report["warnings"] == [{"id": "Tiny/bare", "why": "file not found: gone.png"}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tiny/box.png": b"no image"}, "box.png: not an image"),
        ({"tiny/box.png": None}, "box.png: no such file in the library"),
        ({"tiny/box/box.obj": None}, "box.obj: no such file in the library"),
        ({"tiny/box/box.obj": b"f a b c\nf q"}, "box.obj: "),
    ],
)
def test_bad_files_in_a_library_end_no_run(tmp_path, change, reason):
    files = {**tiny_files(), "tiny/other.png": png()}
    catalog = files["PluginFurnitureCatalog.properties"]
    for number in (2, 3, 4):
        catalog = catalog.replace(f"icon#{number}=/tiny/box.png".encode(), f"icon#{number}=/tiny/other.png".encode())
    files = {**files, "PluginFurnitureCatalog.properties": catalog, **change}
    files = {name: content for name, content in files.items() if content is not None}
    report, data = prepare(write_library(tmp_path / "Tiny.sh3f", files), tmp_path / "out")
    assert data["id"][:] == ["Tiny/turned", "Tiny/bare"]
    assert reason in report["skipped"][0]["why"]


def test_damaged_member_is_skipped(tmp_path):
    library = write_library(tmp_path / "Tiny.sh3f")
    content = library.read_bytes()
    library.write_bytes(
        content.replace(b"newmtl paint\nKd 1 0.5 0", b"newmtl paint\nKd 0 0.5 0").replace(
            b"v 0 0 4\nv 2 0 4", b"v 0 0 9\nv 2 0 9", 1
        )
    )
    report, data = prepare(library, tmp_path / "out")
    assert data["id"][:] == ["Tiny/turned", "Tiny/bare"]
    assert "Tiny.sh3f:/tiny/box/box.obj: damaged" in report["skipped"][0]["why"]
    (why,) = [item["why"] for item in report["warnings"] if item["id"] == "Tiny/turned"]
    assert why.startswith("file not readable: box.mtl (Tiny.sh3f:tiny/turned/box.mtl: damaged")


@pytest.mark.parametrize(
    ("kind", "size", "reason"),
    [
        ("EPS", (4, 4), "pictures of the format EPS are not read"),
        ("ICO", (16, 16), "pictures of the format ICO are not read"),
        ("PNG", (8200, 8200), "8200 x 8200 pixels; at most 67,108,864 are read"),
        ("PNG", (8000, 8000), "8000 x 8000 pixels of [0-9,]+ bytes, too many"),
        ("PNG", (20000, 10000), "not an image that can be read"),  # from where on Pillow refuses it
    ],
)
def test_an_icon_is_decoded_by_pillow_alone_and_only_if_it_is_not_too_large(kind, size, reason, tmp_path, monkeypatch):
    icon = io.BytesIO()
    Image.new("L" if kind == "EPS" else "1", size).save(icon, kind)
    decoded = []
    for owner, name in ((EpsImagePlugin, "Ghostscript"), (ImageFile.ImageFile, "load")):
        monkeypatch.setattr(owner, name, lambda *_, **__: decoded.append(kind))
    files = {**tiny_files(), "tiny/box.png": icon.getvalue()}
    library = FurnitureLibrary(write_library(tmp_path / "Tiny.sh3f", files))
    with pytest.raises(UserError, match=rf"Tiny\.sh3f:/tiny/box\.png: .*{reason}"):
        library.load_icon(library.entries[0])
    assert decoded == []


def test_what_unpacks_to_more_than_a_file_may_hold_is_not_unpacked(tmp_path, monkeypatch):
    """65 MiB out of some 64 KiB; SECURITY.md has the limits."""
    with zipfile.ZipFile(tmp_path / "Tiny.sh3f", "w", zipfile.ZIP_DEFLATED) as library:
        library.writestr("PluginFurnitureCatalog.properties", b"#" * (65 * 2**20))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(UserError, match=r"Tiny\.sh3f:PluginFurnitureCatalog\.properties: 65 MiB once unpacked"):
        FurnitureLibrary(tmp_path / "Tiny.sh3f")


def test_what_is_packed_by_another_method_than_deflate_is_not_unpacked(tmp_path):
    """Python bounds the output of no other."""
    with zipfile.ZipFile(tmp_path / "Tiny.sh3f", "w", zipfile.ZIP_BZIP2) as library:
        library.writestr("PluginFurnitureCatalog.properties", b"#")
    with pytest.raises(UserError, match="not readable .it is not packed by deflate; pack it again by that"):
        FurnitureLibrary(tmp_path / "Tiny.sh3f")


def test_a_license_that_cannot_be_read_costs_its_model_alone(tmp_path):
    library = tmp_path / "Tiny.sh3f"
    with zipfile.ZipFile(library, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in {**tiny_files(), "tiny/turned/license.txt": b" " * (65 * 2**20)}.items():
            packed.writestr(name, content)
    report, data = prepare(library, tmp_path / "out")
    assert data["id"][:] == ["Tiny/box", "Tiny/bare"]
    assert "Tiny.sh3f:tiny/turned/license.txt: 65 MiB once unpacked" in report["skipped"][0]["why"]


def test_result_depends_on_the_seed_but_not_on_the_workers(library, tmp_path):
    outs = [tmp_path / name for name in ("one", "two", "other")]
    reports = [
        prepare(library, out, **options)[0]
        for out, options in zip(outs, ({"num_workers": 1}, {"num_workers": 2}, {"seed": 1}), strict=True)
    ]
    one, two, other = (next((out / "data").glob("*.parquet")).read_bytes() for out in outs)
    assert one == two and reports[0] == reports[1]
    assert one != other


def test_existing_dataset_is_kept_unless_told(library, tmp_path):
    out = tmp_path / "out"
    prepare(library, out)
    file = out / "data" / "train-00000-of-00001.parquet"
    before = file.read_bytes()
    with pytest.raises(UserError, match="has a dataset already"):
        prepare(library, out, seed=1)
    assert file.read_bytes() == before
    prepare(library, out, seed=1, overwrite=True)
    assert file.read_bytes() != before
    assert sorted(path.name for path in out.iterdir()) == ["data", "report.json", "reports"]


def test_a_library_that_was_replaced_is_read_again(tmp_path):
    def color():
        """Of the first entry's icon."""
        data = prepare(tmp_path / "Tiny.sh3f", tmp_path / "out", overwrite=True)[1]
        return data[0]["images"][0].convert("RGB").getpixel((0, 0))

    write_library(tmp_path / "Tiny.sh3f")
    assert color() == (255, 0, 0)
    write_library(tmp_path / "Tiny.sh3f", {**tiny_files(), "tiny/box.png": png((0, 0, 255))})
    assert color() == (0, 0, 255)


def test_only_the_reasons_are_left_behind_when_nothing_can_be_prepared(tmp_path):
    files = {name: content for name, content in tiny_files().items() if not name.endswith(".png")}
    with pytest.raises(UserError, match="every shape was skipped"):
        prepare(write_library(tmp_path / "Tiny.sh3f", files), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "report.json"]


def test_bad_libraries_are_errors_that_name_them(tmp_path):
    with pytest.raises(UserError, match=r"gone\.sh3f: no such file"):
        FurnitureLibrary(tmp_path / "gone.sh3f")
    (tmp_path / "text.sh3f").write_text("hello")
    with pytest.raises(UserError, match=r"text\.sh3f: not a zip file"):
        FurnitureLibrary(tmp_path / "text.sh3f")
    with pytest.raises(UserError, match=r"bare\.sh3f: has no PluginFurnitureCatalog\.properties"):
        FurnitureLibrary(write_library(tmp_path / "bare.sh3f", {"a.txt": b""}))
    for name, catalog, message in [
        ("none", b"id=x", "lists no furniture"),
        ("lame", b"name#1=x\nicon#1=/x.png", "no 'model#1'"),
        ("bent", b"name#1=x\nicon#1=/x.png\nmodel#1=/x.obj\nmodelRotation#1=1 0 zero", "expected 9 numbers"),
    ]:
        files = {"PluginFurnitureCatalog.properties": catalog}
        with pytest.raises(UserError, match=message):
            FurnitureLibrary(write_library(tmp_path / f"{name}.sh3f", files))


def test_libraries_of_one_name_clash(library, tmp_path):
    (tmp_path / "more").mkdir()
    with pytest.raises(UserError, match="Tiny: 2 of the libraries"):
        prepare_sweethome3d([library, write_library(tmp_path / "more" / "Tiny.sh3f")], tmp_path / "out")


def test_ids_take_as_much_of_the_path_as_they_need(tmp_path):
    models = ["/a/chair/x.obj", "/b/chair/x.obj", "/c/table/x.obj", "/c/table/x.obj", "/lamp.obj"]
    catalog = "\n".join(
        f"name#{number}=n\nicon#{number}=/i.png\nmodel#{number}={model}"
        for number, model in enumerate(models, start=1)
    )
    library = FurnitureLibrary(
        write_library(tmp_path / "L.sh3f", {"PluginFurnitureCatalog.properties": catalog.encode()})
    )
    assert library.ids() == ["L/a/chair/x", "L/b/chair/x", "L/c/table/x-3", "L/c/table/x-4", "L/lamp"]


def test_names_in_a_library_never_reach_the_disk(tmp_path):
    (tmp_path / "secret.mtl").write_text("newmtl paint\nKd 1 1 1\n")
    for escape in ("../secret.mtl", str(tmp_path / "secret.mtl")):
        files = tiny_files()
        files["tiny/box/box.obj"] = files["tiny/box/box.obj"].replace(b"box.mtl", escape.encode())
        library = FurnitureLibrary(write_library(tmp_path / "Tiny.sh3f", files))
        assert library.load_mesh(library.entries[0]).warnings == [f"file not found: {escape}"]


def test_a_models_own_license_holds_where_it_asks_for_more(tmp_path):
    files = tiny_files()
    files["LICENSE.TXT"] = b"Creative Commons Zero (Public Domain)"
    files["tiny/turned/BLENDSWAP_LICENSE.txt"] = (
        b"Creative Commons Attribution 3.0, from http://www.blendswap.com/blends/view/123"
    )
    library = FurnitureLibrary(write_library(tmp_path / "Tiny.sh3f", files))
    assert [library.license_of(entry) for entry in library.entries] == ["CC0-1.0", "CC-BY-3.0", "CC0-1.0", "CC0-1.0"]
    assert library.origin_of(library.entries[1]) == "http://www.blendswap.com/blends/view/123"
    assert library.origin_of(library.entries[0]) is None


@pytest.mark.parametrize(
    ("text", "license_id"),
    [
        ("http://creativecommons.org/choose/zero/", "CC0-1.0"),
        ("http://creativecommons.org/licenses/by/3.0/", "CC-BY-3.0"),
        ("http://creativecommons.org/licenses/by/3.0/us/", "CC-BY-3.0-US"),
        ("https://creativecommons.org/licenses/by-sa/4.0/", "CC-BY-SA-4.0"),
        ("Creative Commons Attribution 3.0 United States license", "CC-BY-3.0-US"),
        ("Creative Commons Attribution 3.0 Unported license", "CC-BY-3.0"),
        ("Creative Commons Attribution-NonCommercial 3.0", "CC-BY-NC-3.0"),
        ("Creative Commons Attribution - ShareAlike 3.0 Unported", "CC-BY-SA-3.0"),
        ("Creative Commons Attribution-Noncommercial-No Derivative Works 3.0", "CC-BY-NC-ND-3.0"),
        ("All rights reserved", None),
    ],
)
def test_find_license(text, license_id):
    assert find_license(text) == license_id


@pytest.mark.parametrize(
    ("text", "license_id"),
    [
        ("Creative Commons Attribution-NonCommercial 3.0", "CC-BY-NC-3.0"),
        ("GNU General Public License", "NOASSERTION"),
        ("(c) somebody. All rights reserved.", "NOASSERTION"),
        ("Made with a free program.", "CC0-1.0"),
    ],
)
def test_a_models_license_that_is_not_understood_is_not_the_librarys_freer_one(tmp_path, text, license_id):
    files = {**tiny_files(), "LICENSE.TXT": b"Creative Commons Zero", "tiny/turned/license.txt": text.encode()}
    library = FurnitureLibrary(write_library(tmp_path / "Tiny.sh3f", files))
    assert library.license_of(library.entries[1]) == license_id and library.license_of(library.entries[0]) == "CC0-1.0"


def test_unknown_license_is_said_to_be_unknown(tmp_path):
    files = {**tiny_files(), "LICENSE.TXT": b"ask me"}
    catalog = files["PluginFurnitureCatalog.properties"].replace(b"Creative Commons Attribution 3.0", b"Some")
    files["PluginFurnitureCatalog.properties"] = catalog
    assert FurnitureLibrary(write_library(tmp_path / "Tiny.sh3f", files)).license == "NOASSERTION"


def test_properties_end_their_lines_as_java_does():
    """A comment does not continue, and other separators are part of a value."""
    text = "# files are in C:\\\nname#1=Chair\x85 big\nname#2=a\x0cb\u2028c\rlast=x\\"
    expected = {"name#1": "Chair\x85 big", "name#2": "a\x0cb\u2028c", "last": "x"}
    assert parse_properties(text) == expected
    # Each line is looked at once, however many are continued.
    assert parse_properties("long=" + "x\\\n" * 300_000) == {"long": "x" * 300_000}


def test_parse_properties():
    text = (
        "# c\n! c\n  key = value # kept\r\nempty=\nbare\ncolon: x\n"
        "long=a,\\\n   b\nslash=c:\\\\\nu=\\u20ac\\t\\=\nsp\\ ace=1\n"
    )
    assert parse_properties(text) == {
        "key": "value # kept",
        "empty": "",
        "bare": "",
        "colon": "x",
        "long": "a,b",
        "slash": "c:\\",
        "u": "€\t=",
        "sp ace": "1",
    }


@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=1))
def test_every_value_survives_escaping(value):
    escaped = "".join(f"\\u{ord(character):04x}" for character in value)
    assert parse_properties(f"name#1={escaped}") == {"name#1": value}
