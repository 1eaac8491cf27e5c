"""The start of the page, before anything is loaded."""

import socket
import sys

import pytest

from mrd_hf.app import server
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
