"""scripts/benchmarks/gpu_report.py: one part's failure or time-out does not stop the next, and all is written."""

import importlib.util
import json
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
    parts = {
        name: gpu_report.PartOfReport(name.title(), 1, [sys.executable, "-c", code]) for name, code in codes.items()
    }
    monkeypatch.setattr(gpu_report, "PARTS", parts)
    status = gpu_report.main(["--out", str(tmp_path / "out"), "--minutes", "0.1", "--parts", *parts])
    assert status == 1
    screen = capsys.readouterr().out
    assert screen.startswith("0.1 minutes") and "  hangs         2 s  Hangs" in screen.splitlines()
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


@pytest.mark.parametrize("name", ["encoders", "objective", "precisions", "golden"])
def test_parts_measure(gpu_report, monkeypatch, tmp_path, name):
    """In this process, which has imported what they need."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    part = importlib.import_module(f"gpu_parts.{name}")
    part.main(["--tiny", "--device", "cpu", "--output", str(tmp_path / "part.json"), "--seconds", "60"])
    results = json.loads((tmp_path / "part.json").read_text())
    ((_, rows),) = results["tables"].items()
    assert len(rows) == {"encoders": 2, "objective": 4, "precisions": 2, "golden": 2}[name]
    assert all(row["verdict"] == "good" for row in rows if name == "golden")
    assert all(row["finite"] for row in rows if name == "precisions")
