"""The limits that SECURITY.md states are those of the code."""

import re

from support.paths import ROOT

from mrd_hf.app import request_limits
from mrd_hf.conversion import checkpoint_file
from mrd_hf.files import plain_pickle
from mrd_hf.models import shape_limits


TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
# The rows of what is counted in a file.
LIMITED = {
    "faces": "faces",
    "points": "points",
    "decoded faces": "decoded faces",
    "decoded points": "decoded points",
    "placed vertices": "vertices",
    "parts": "parts",
    "instances": "instances",
    "placed nodes": "nodes",
    "JSON values": "values",
    "XML elements": "elements",
    "files": "files that it names",
    "pixels of pictures": "pixels of its pictures",
    "texels": "pixels of its textures",
}
GIB, MIB = 2**30, 2**20


def row(start: str) -> str:
    """The rest of the one table row that starts so."""
    (found,) = re.findall(rf"^ *\| {re.escape(start)}(?!\w)(.*)$", TEXT, flags=re.MULTILINE)
    return found


def test_what_a_file_may_be():
    for what, start in LIMITED.items():
        allowance = shape_limits.ALLOWANCES[what]
        # After the rest of the first column.
        *_, harmless, for_a_byte, most = (column.strip() for column in row(start).strip().strip("|").split("|"))
        share = (
            f"{allowance.for_a_byte:g}" if allowance.for_a_byte >= 1 else f"1 for {1 / allowance.for_a_byte:g} bytes"
        )
        assert (harmless, for_a_byte) == (f"{allowance.harmless:,}", share), what
        assert most == ("-" if allowance.most is None else f"{allowance.most:,}"), what
    assert LIMITED.keys() == shape_limits.ALLOWANCES.keys()
    assert f"{shape_limits.MAX_TEXELS:,}" in row("pixels of a picture")
    assert f"{shape_limits.HARMLESS_PIXELS:,}" in row("pixels of a picture")
    assert f"than {shape_limits.MAX_PIXELS_A_BYTE} a byte" in row("pixels of a picture")
    assert f"{shape_limits.MAX_SLOW_PIXELS:,}" in row("pixels of one that Pillow decodes by Python")
    assert f"whose pixels count for {shape_limits.SLOWNESS} each" in TEXT
    assert f"{shape_limits.MAX_FACES:,}" in row("rows of a PLY file")
    assert f"{shape_limits.MAX_DEPTH:,}" in row("nested nodes")
    assert f"{shape_limits.MAX_FILE_BYTES // GIB} GiB" in row("a file of a shape")
    archive = f"{shape_limits.MAX_FILE_BYTES // GIB} GiB, and {shape_limits.MAX_RATIO} times its size"
    assert archive in row("an archive") and f"{shape_limits.HARMLESS_BYTES // MIB} MiB" in row("an archive")
    fetched = row("a file that the pipelines fetch")
    assert f"{shape_limits.MAX_DOWNLOAD_BYTES // MIB} MiB, {shape_limits.DEFAULT_TIMEOUT:g} seconds" in fetched
    assert f"{plain_pickle.MAX_INSTRUCTIONS:,}" in row("instructions in a pickled")
    assert f"{checkpoint_file.MAX_NAMES:,};" in row("classes that a PyTorch file names")


def test_what_a_process_may_take():
    space = row("the Space")
    assert f"{shape_limits.TIME_LIMIT:g} seconds, {shape_limits.SPACE_MEMORY // GIB} GiB" in space
    assert f"{request_limits.MAX_UPLOAD // MIB} MiB for the file" in space
    handler = (ROOT / "src" / "mrd_hf" / "hub" / "endpoint" / "handler.py").read_text()
    stated = row("the Inference Endpoint's handler")
    for setting, value, text in (
        ("MRD_MAX_BYTES", "32 * 2**20", "32 MiB for the file"),
        ("MRD_TIMEOUT", f"{shape_limits.TIME_LIMIT:g}", "20 seconds"),
        ("MRD_MAX_MEMORY", f"{shape_limits.ENDPOINT_MEMORY // GIB} * 2**30", "3 GiB"),
    ):
        assert f'"{setting}", {value})' in handler and text in stated
