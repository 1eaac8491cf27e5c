"""The start of the page, before anything is loaded."""

import asyncio
import os
import socket
import sys
import time

import pytest

from mrd_hf.app import server
from mrd_hf.app.request_limits import RequestLimits
from mrd_hf.errors import UserError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MRD_MODEL", "MRD_COLLECTION"):
        monkeypatch.delenv(name, raising=False)


def test_where_the_demo_is_not_the_option_is_named():
    with pytest.raises(UserError, match="there is no outputs/demo/encoder here; give --model as a folder or an id"):
        server.main([])
    with pytest.raises(UserError, match="there is no scripts/demo_data here; give --collection"):
        server.main(["--model", "org/encoder"])


def test_the_environment_and_the_names_of_other_commands_are_understood(monkeypatch):
    monkeypatch.setenv("MRD_MODEL", "org/encoder")
    arguments = server.make_parser().parse_args(["--text_tower", "t", "--collection=c"])
    assert (arguments.model, arguments.text_tower, arguments.collection) == ("org/encoder", "t", "c")
    assert server.make_parser().parse_args(["--teacher", "t"]).text_tower == "t"


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1"])
def test_what_is_no_port_is_said(monkeypatch, capsys, port):
    with pytest.raises(SystemExit):
        server.make_parser().parse_args([f"--port={port}"])
    assert f"'{port}' is no port; give a number from 1 to 65535" in capsys.readouterr().err
    monkeypatch.setenv("GRADIO_SERVER_PORT", port)
    with pytest.raises(SystemExit):
        server.make_parser().parse_args([])
    assert "--port" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        server.make_parser().parse_args(["--help"])
    assert ended.value.code == 0


def test_addresses_of_ipv6_are_refused_before_anything_is_loaded():
    with pytest.raises(UserError, match="--host ::1: addresses of IPv6 are not served"):
        server.main(["--host", "::1"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one address of their own")
def test_a_port_in_use_here_is_passed_over_whatever_is_listened_at():
    """As Gradio looks for one that is free on this machine's own address."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        # On Linux all of 127.0.0.0/8 is this machine, and nothing listens at this one.
        assert server.free_port("127.0.0.2", taken) > taken


def upload(folder, parts, ends=True):
    """Have Gradio's own parser read an upload into a folder: what it answers, or None where the client goes before."""
    from gradio.route_utils import upload_fn
    from starlette.requests import Request

    head = '--x\r\nContent-Disposition: form-data; name="{}"; filename="chair.glb"\r\n\r\nglTF\r\n'
    body = "".join(map(head.format, parts)).encode() + (b"--x--\r\n" if ends else b"")
    messages = [{"type": "http.request", "body": body, "more_body": not ends}]
    answers = []

    async def application(scope, receive, send):
        answers.append((await upload_fn(Request(scope, receive), folder, 2**20, None))[0])

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "path": "/gradio_api/upload", "method": "POST", "headers": headers}
    asyncio.run(RequestLimits(application)(scope, receive, send))
    return answers[0] if answers else None


@pytest.mark.parametrize(("parts", "ends"), [(["files"], False), (["other"], True)], ids=["cancelled", "other field"])
def test_what_an_upload_left_is_deleted_in_time(tmp_path, monkeypatch, parts, ends):
    """The server waits, and looks again and again."""
    folder = tmp_path / "gradio"
    (finished,) = upload(folder, ["files"])
    upload(folder, parts, ends)
    (left,) = (file for file in folder.iterdir() if file.is_file())
    waits = []

    def sleep(seconds):
        waits.append((seconds, left.is_file()))
        if len(waits) == 3:
            raise KeyboardInterrupt
        if len(waits) == 2:
            for file in (left, finished):
                os.utime(file, (time.time() - 61, time.time() - 61))

    monkeypatch.setattr(server, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        server.keep_clean(folder, 60)
    assert waits == [(60, True), (60, True), (60, False)]  # a fresh one may be on its way
    assert os.path.isfile(finished)  # Gradio deletes it itself


def test_a_folder_that_nothing_was_uploaded_to_is_not_made(tmp_path):
    server.remove_unfinished(tmp_path / "gradio", 60)
    assert list(tmp_path.iterdir()) == []
