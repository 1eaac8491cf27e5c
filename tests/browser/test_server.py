"""What is not seen in a browser: the server's own manners."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from browser.page_server import start_server, wait_for_address
from support.paths import ROOT

from mrd_hf.commands.termination import TERMINATED


def status(url, data=None, headers=None, method=None):
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(request, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        # An answer before the request was all sent: the connection may be gone before it is read.
        assert isinstance(error.reason, (ConnectionResetError, BrokenPipeError)), error
        return 413


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname",
        str(ROOT / "scripts/app/app.py"),
        "scripts/app/app.py",
        str(ROOT / "scripts/demo_data/README.md"),
        "../../etc/hostname",
        "http://127.0.0.1:9/secret",
    ],
)
def test_files_of_the_machine_are_not_served(server, path):
    assert status(f"{server.url}/gradio_api/file={path}") == 403


def multipart(content):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.glb"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def test_uploads_have_a_limit(server):
    url = f"{server.url}/gradio_api/upload"
    assert status(url, *multipart(bytes(2**20))) == 200
    assert status(url, *multipart(bytes(25 * 2**20 + 1))) == 413
    assert status(url, *multipart(bytes(26 * 2**20))) == 413


def test_calls_have_a_limit_and_name_no_address(server):
    url, headers = f"{server.url}/gradio_api/queue/join", {"Content-Type": "application/json"}
    assert status(url, b'{"data": ["' + b"x" * 2**20 + b'"]}', headers) == 413
    body = {"data": [{"path": "http://127.0.0.1:9/a.glb", "meta": {"_type": "gradio.FileData"}}], "fn_index": 0}
    assert status(url, json.dumps(body).encode(), headers) == 403
    assert status(server.url) == 200


def test_a_port_in_use_moves_to_the_next_and_a_stop_leaves_nothing(server, encoder, tmp_path, calls_home):
    port = int(server.url.rpartition(":")[2])
    # A collection that is there already: the second start is quick. The folder is the first's own.
    before = set(Path("/tmp").glob("mrd-app-*"))
    second = start_server(encoder, tmp_path, calls_home[0], port=port)
    try:
        address = wait_for_address(second)
        assert address != server.url and int(address.rpartition(":")[2]) > port
        assert status(address) == 200
        assert len(set(Path("/tmp").glob("mrd-app-*")) - before) == 1
    finally:
        second.terminate()
        assert second.wait(30) == TERMINATED
    assert set(Path("/tmp").glob("mrd-app-*")) == before


def test_what_cannot_be_loaded_is_said_in_a_line(tmp_path, calls_home):
    process = start_server(tmp_path / "nothing", tmp_path, calls_home[0])
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 2
    assert f"error: cannot load the encoder '{tmp_path / 'nothing'}'" in output and "Traceback" not in output


def test_nothing_was_reported_to_anybody(server):
    # Last in the last file: by now the server has done all that it does. (The test above asks for a model.)
    assert [call for call in server.calls_home if "huggingface.co" not in call] == []
