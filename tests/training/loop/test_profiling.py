"""A trace of a few steps that a browser can show."""

import gzip
import json

from support.short_runs import tiny_run
from support.tiny_triplets import save_tiny_triplets


def test_the_steps_asked_for_are_recorded(tmp_path, capsys):
    data = save_tiny_triplets(tmp_path / "data")
    tiny_run(data, tmp_path / "run", profile=2).run()
    trace = json.loads(gzip.decompress((tmp_path / "run/profile/trace.json.gz").read_bytes()))
    names = [event["name"] for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]
    for part in ("inputs", "forward", "backward", "update"):
        assert names.count(part) == 2
    assert [name for name in names if name.startswith("ProfilerStep")] == ["ProfilerStep#3", "ProfilerStep#4"]
    assert "aten::" in (tmp_path / "run/profile/operations.txt").read_text()
    assert "note:" not in capsys.readouterr().err


def test_a_run_that_is_too_short_says_so(tmp_path, capsys):
    data = save_tiny_triplets(tmp_path / "data")
    tiny_run(data, tmp_path / "run", profile=2, num_train_steps=3).run()
    assert not (tmp_path / "run/profile").exists()
    assert "note: --profile records from step 4 of a run on; this one ended before." in capsys.readouterr().err
