"""The limits that SECURITY.md states are those of the code."""

import re

from support.paths import ROOT

from mrd_hf.app import request_limits
from mrd_hf.app import shape_reading as page
from mrd_hf.files import plain_pickle
from mrd_hf.models import gltf_nodes, shape_downloads, shape_limits


TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
GIB, MIB = 2**30, 2**20


def row(start: str) -> str:
    """The rest of the one table row that starts so."""
    (found,) = re.findall(rf"^ *\| {re.escape(start)}(.*)$", TEXT, flags=re.MULTILINE)
    return found


def test_what_a_file_may_be():
    assert f"{shape_limits.MAX_FACES:,}" in row("faces of a mesh")
    assert f"{shape_limits.MAX_TEXELS:,}" in row("pixels of a texture")
    assert f"{gltf_nodes.MAX_DEPTH:,}" in row("nested nodes")
    assert f"{shape_limits.MAX_FILE_BYTES // GIB} GiB" in row("a file of a shape")
    archive = f"{shape_limits.MAX_FILE_BYTES // GIB} GiB, and {shape_limits.MAX_RATIO} times its size"
    assert archive in row("an `.npz` archive") and f"{shape_limits.HARMLESS_BYTES // MIB} MiB" in row(
        "an `.npz` archive"
    )
    fetched = row("a file that the pipelines fetch")
    assert f"{shape_downloads.MAX_DOWNLOAD_BYTES // MIB} MiB, {shape_downloads.DEFAULT_TIMEOUT:g} seconds" in fetched
    assert f"{plain_pickle.MAX_INSTRUCTIONS:,}" in row("instructions in a pickled")


def test_what_a_process_may_take():
    space = row("the Space")
    assert f"{page.TIME_LIMIT:g} seconds, {page.MEMORY_LIMIT // GIB} GiB" in space
    assert f"{request_limits.MAX_UPLOAD // MIB} MiB for the file" in space
    handler = (ROOT / "src" / "mrd_hf" / "hub" / "endpoint" / "handler.py").read_text()
    stated = row("the Inference Endpoint's handler")
    for setting, value, text in (
        ("MRD_MAX_BYTES", "32 * 2**20", "32 MiB for the file"),
        ("MRD_TIMEOUT", "20", "20 seconds"),
        ("MRD_MAX_MEMORY", "3 * 2**30", "3 GiB"),
    ):
        assert f'"{setting}", {value})' in handler and text in stated
