"""scripts/benchmarks/gpu_report.py: one part's failure or time-out does not stop the next, and all is written."""

import importlib.util
import json
import math
import sys
import time
from types import ModuleType

import pytest
import torch
from support.paths import ROOT


@pytest.fixture
def gpu_report() -> ModuleType:
    file = ROOT / "scripts" / "benchmarks" / "gpu_report.py"
    spec = importlib.util.spec_from_file_location("gpu_report", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_report"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_report"]


WRITES = """
import json, sys, time
output = sys.argv[sys.argv.index("--output") + 1]
left = float(__import__("os").environ["REPORT_END"]) - time.monotonic()
facts, table = {"found": 7, "early": left < -5}, [{"a_b": 1, "c|d": None}]
json.dump({"facts": facts, "tables": {"A table": table}, "notes": []}, open(output, "w"))
"""


def test_a_part_that_fails_or_hangs_does_not_stop_the_next(gpu_report, tmp_path, monkeypatch, capsys):
    codes = {
        "fails": WRITES + "raise SystemExit('no such device')",
        "hangs": WRITES + "time.sleep(60)",
        "works": WRITES,
    }
    # All of them have time to start Python; the one that hangs is waited for until its own is over.
    shares = {"fails": 3, "hangs": 1, "works": 2}
    parts = {
        name: gpu_report.PartOfReport(name.title(), shares[name], [sys.executable, "-c", code])
        for name, code in codes.items()
    }
    monkeypatch.setattr(gpu_report, "PARTS", parts)
    monkeypatch.setattr(gpu_report, "STOPPING", 60)
    status = gpu_report.main(["--out", str(tmp_path / "out"), "--minutes", "0.3", "--parts", *parts])
    assert status == 1
    screen = capsys.readouterr().out
    assert screen.startswith("0.3 minutes") and "  hangs         3 s  Hangs" in screen.splitlines()
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    found = {name: (part["status"].split()[0], part["facts"]) for name, part in report["parts"].items()}
    assert found == {
        "fails": ("failed", {"found": 7, "early": True}),  # its time is less than what is kept for ending it
        "hangs": ("stopped", {"found": 7, "early": True}),
        "works": ("finished", {"found": 7, "early": True}),
    }
    assert "no such device" in report["parts"]["fails"]["notes"][0]
    text = (tmp_path / "out" / "report.md").read_text()
    assert text in screen
    assert "| a b | c\\|d |\n| --- | --- |\n| 1 |  |" in text
    assert "no such device" in (tmp_path / "out" / "log.txt").read_text()


def test_a_parts_time_ends_with_the_reports(monkeypatch):
    """However long it took to import torch before it reads its arguments."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    part = importlib.import_module("gpu_parts.part").Part
    monkeypatch.setenv("REPORT_END", str(time.monotonic() + 10))
    assert 5 < part(None, ["--seconds", "60"]).seconds_left() <= 10
    assert 1 < part(None, ["--seconds", "3"]).seconds_left() <= 3
    monkeypatch.delenv("REPORT_END")
    assert 50 < part(None, ["--seconds", "60"]).seconds_left() <= 60


@pytest.mark.skipif(torch.cuda.is_available(), reason="the whole of it runs here")
def test_parts_run_on_a_cpu(gpu_report, tmp_path, capsys):
    assert gpu_report.main(["--tiny", "--out", str(tmp_path), "--minutes", "5", "--parts", "machine", "kernels"]) == 0
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert parts["machine"]["facts"]["torch"] == torch.__version__
    if parts["machine"]["facts"]["triton"] == "not installed":
        return
    assert parts["kernels"]["facts"]["cases with a difference"] == 0
    (rows, _) = parts["kernels"]["tables"].values()
    assert [(row["differs_from_torch"], row["differs_from_numpy"]) for row in rows] == [(0, 0)] * 3


# Columns with a figure that rounding leaves above 0 even of tiny sizes.
MEASURED = {
    "encoders": ("step_ms", "shapes_per_s", "times_the_floor", "sampling_and_grouping_ms"),
    "objective": ("step_ms",),
}


@pytest.mark.parametrize("name", ["encoders", "objective", "precisions", "golden"])
def test_parts_measure(gpu_report, monkeypatch, tmp_path, name):
    """In this process, which has imported what they need."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    part = importlib.import_module(f"gpu_parts.{name}")
    part.main(["--tiny", "--device", "cpu", "--output", str(tmp_path / "part.json"), "--seconds", "60"])
    results = json.loads((tmp_path / "part.json").read_text())
    ((_, rows),) = results["tables"].items()
    assert len(rows) == {"encoders": 2, "objective": 4, "precisions": 2, "golden": 2}[name]
    for row in rows if name in MEASURED else ():
        figures = [row[column] for column in MEASURED[name]]  # of a run that failed, the first is its error
        assert all(isinstance(figure, int | float) and 0 < figure < math.inf for figure in figures), row
    if name == "encoders":
        assert [row["encoder"] for row in rows] == ["tiny", "tiny"]
        assert [row["grouped_by"] for row in rows] == ["kernels", "loops and sorts"]
        for row in rows:
            assert row["shapes_per_s"] == pytest.approx(1000 * row["batch"] / row["step_ms"], rel=0.1, abs=1)
    if name == "objective":
        forms = ("normalized_similarity", "euclidean", "partial_order")
        assert [row["relations"] for row in rows] == ["none, alignment alone", *(f"all, {form}" for form in forms)]
    assert all(row["verdict"] == "good" for row in rows if name == "golden")
    assert all(row["finite"] for row in rows if name == "precisions")


@pytest.mark.parametrize(
    ("device", "before", "seen"),
    [
        (None, None, None),
        ("cuda", "2,3", "2,3"),
        ("cuda:1", None, "1"),
        ("cuda:1", "2,3", "3"),
        ("cpu", "2,3", ""),
    ],
)
def test_parts_see_the_device_that_was_asked_for_alone(gpu_report, tmp_path, monkeypatch, device, before, seen):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    assert gpu_report.environment(tmp_path, device).get("CUDA_VISIBLE_DEVICES") == seen
