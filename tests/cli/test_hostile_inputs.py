"""Inputs that are made to harm, through the command as a user runs it: bounded in time and memory, and harmless."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_shapes import claims_and_bombs, embedded, readers_of, write_files
from support.false_claims import huge_png
from support.tiny_gltf import TRIANGLE
from support.tiny_teachers import CLIP_WIDTH
from tiny_commands import mrd_hf, save_tiny_encoder, write_shapes


GIB = 2**30
# Ends the command in the place of `mrd-hf`, and notes every file that is opened.
WATCHED = """
import sys
opened = open(sys.argv.pop(1), "w", errors="backslashreplace")
sys.addaudithook(lambda event, given: opened.write(f"{given[0]}\\n") if event == "open" else None)
from mrd_hf_cli.main import main
try:
    main()
finally:  # its own peak: what the kernel tells a waiting parent includes the parent's, from before the exec
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1]
    open("peak.txt", "w").write(peak)
"""
# Sound but for a texture.
READABLE = {"texture.glb"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """10,000 labels with embeddings, in many alphabets and with what terminals take for commands."""
    path = tmp_path_factory.mktemp("classes") / "classes.parquet"
    labels = [f"{word} {number}" for number in range(2500) for word in ("стул", "椅子🪑", "\x1b[2J\x9b31m", "a\nb")]
    embeds = np.random.default_rng(0).standard_normal((len(labels), CLIP_WIDTH)).astype(np.float32)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(embeds.reshape(-1)), CLIP_WIDTH)
    pq.write_table(pa.table({"label": labels, "text_embed": flat}), path)
    return path


def test_files_made_to_harm_are_refused_in_bounded_time_and_memory(tmp_path, encoder, classes):
    write_files(tmp_path / "bombs", claims_and_bombs())
    private = tmp_path / "elsewhere" / "private.png"
    write_files(tmp_path / "elsewhere", {"private.png": TRIANGLE})
    write_files(tmp_path / "absolute", readers_of(str(private)))
    write_files(tmp_path / "relative", readers_of("../elsewhere/private.png"))
    folders = ["bombs", "absolute", "relative"]
    command = [sys.executable, "-c", WATCHED, "opened.txt", "classify", *folders, "--class-embeds", str(classes)]
    started = time.monotonic()
    with open(tmp_path / "out.json", "w") as out:
        process = subprocess.Popen(
            [*command, "--model", str(encoder), "--json"], cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, text=True
        )
        _, stderr = process.communicate()
    assert time.monotonic() - started < 120, stderr
    assert process.returncode == 1, stderr
    assert int((tmp_path / "peak.txt").read_text()) * 1024 < 1.5 * GIB, stderr
    assert "Traceback" not in stderr

    results = json.loads((tmp_path / "out.json").read_text())
    found = {result["file"]: result for result in results}
    bombs = sorted(claims_and_bombs())
    assert [name for name in bombs if "labels" in found[f"bombs/{name}"]] == sorted(READABLE)
    for name in set(bombs) - READABLE:
        assert f"bombs/{name}" in found[f"bombs/{name}"]["error"] and len(found[f"bombs/{name}"]["error"]) < 1000
    # A buffer that is elsewhere is missing; so is a texture, but the shape is there without.
    for folder in ("absolute", "relative"):
        for number in range(4):
            assert "error" in found[f"{folder}/buffer{number}.gltf"]
            assert "labels" in found[f"{folder}/image{number}.glb"]
        assert "labels" in found[f"{folder}/texture.obj"] and "labels" in found[f"{folder}/library.obj"]
    opened = (tmp_path / "opened.txt").read_text()
    assert str(tmp_path / "absolute" / "texture.mtl") in opened and "texture.obj" in opened  # it does see what is read
    assert "elsewhere" not in opened


def test_names_and_labels_reach_the_terminal_as_text(tmp_path, encoder, classes):
    names = ["new\nline.glb", "\x1b]0;title\x07\x1b[31mred.glb", "turned\u202earound.glb", "bad\x1b[2J.glb", "ö🪑.glb"]
    write_files(tmp_path / "s", {name: embedded() for name in names})
    (tmp_path / "s" / "bad\x1b[2J.glb").write_bytes(b"glTF\x1b[5m")
    not_utf8 = os.path.join(os.fsencode(tmp_path), b"s", b"latin-\xe9.glb")
    with open(not_utf8, "wb") as file:
        file.write(embedded())
    command = [sys.executable, "-m", "mrd_hf_cli.main", "classify", "s", "--class-embeds", str(classes)]
    done = subprocess.run([*command, "--model", str(encoder), "--top-k", "100"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 1, done.stderr
    for shown in (done.stdout.decode(), done.stderr.decode()):
        assert not set(shown) & set("\x1b\x07\x9b\u202e\r")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 5 * 101
    for name in (r"s/new\nline.glb", r"s/\x1b]0;title\x07\x1b[31mred.glb", r"s/turned\u202earound.glb", "s/ö🪑.glb"):
        assert name in lines
    assert r"s/latin-\udce9.glb" in lines and any("椅子🪑" in line for line in lines)
    assert r"s/bad\x1b[2J.glb" in done.stderr.decode()


def test_a_pipe_is_no_shape(tmp_path, encoder, classes, capsys):
    (tmp_path / "s").mkdir()
    for suffix in ("npz", "pcd", "ply", "npy"):
        os.mkfifo(tmp_path / "s" / f"pipe.{suffix}")  # whoever opens one waits forever
    assert mrd_hf("classify", tmp_path / "s", "--class-embeds", classes, "--model", encoder) == 1
    assert capsys.readouterr().err.count("no such file") == 4


def test_pictures_are_read_by_no_program(tmp_path, encoder, capsys):
    write_shapes(tmp_path / "s")
    assert mrd_hf("index", tmp_path / "s", "--model", encoder) == 0
    pictures = {
        "program.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
        "huge.png": huge_png(),
        "cut.png": huge_png()[:40],
    }
    write_files(tmp_path / "pictures", pictures)
    capsys.readouterr()
    for name in pictures:
        assert mrd_hf("search", f"{tmp_path / 's'}-index", "--image", tmp_path / "pictures" / name) == 2
        assert f"{name}: cannot be read as a picture, PNG" in capsys.readouterr().err
