"""The start of the page, before anything is loaded."""

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
