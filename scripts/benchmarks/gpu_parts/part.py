"""What every part of the GPU report has: arguments, results that are written as they come, and a stop-watch."""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


ROOT = Path(__file__).parents[3]
MODELS = ROOT / "src" / "mrd_hf" / "models"


class Part:
    """A part's device, its time, and its results: facts, tables and notes.

    Args:
        description (`str`): For `--help`.
        argv (`list[str]`, *optional*): The command line, by default this process's.
    """

    def __init__(self, description: str | None, argv: list[str] | None = None) -> None:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        parser.add_argument(
            "--seconds", type=float, default=60.0, help="begin nothing new after so many (default: 60)"
        )
        parser.add_argument("--tiny", action="store_true", help="sizes for a test on a CPU")
        parser.add_argument("--output", "-o", type=Path, help="file for the results, written as they come")
        arguments = parser.parse_args(argv)
        self.device = torch.device(arguments.device)
        self.on_gpu = self.device.type == "cuda"
        self.tiny: bool = arguments.tiny
        self.output: Path | None = arguments.output
        self.deadline = time.monotonic() + arguments.seconds
        if "REPORT_END" in os.environ:  # of gpu_report.py, which ends this process soon after
            self.deadline = min(self.deadline, float(os.environ["REPORT_END"]))
        self.results: dict[str, Any] = {"facts": {}, "tables": {}, "notes": []}

    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def fact(self, name: str, value: Any) -> None:
        self.results["facts"][name] = value
        self.write()

    def row(self, table: str, **cells: Any) -> None:
        self.results["tables"].setdefault(table, []).append(cells)
        self.write()

    def note(self, text: str) -> None:
        self.results["notes"].append(text)
        self.write()

    def write(self) -> None:
        if self.output is None:
            return
        beside = self.output.with_suffix(".tmp")
        beside.write_text(json.dumps(self.results, default=str))
        os.replace(beside, self.output)

    def finish(self) -> None:
        if self.output is None:
            print(json.dumps(self.results, indent=2, default=str))

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def median_ms(self, function: Callable[[], Any], runs: int = 10, warm_up: int = 2) -> float:
        """Milliseconds by the clock, the device's work included."""
        if self.tiny:
            runs, warm_up = 1, 0
        times = []
        for run in range(warm_up + runs):
            self.wait()
            started = time.perf_counter()
            function()
            self.wait()
            if run >= warm_up:
                times.append(time.perf_counter() - started)
        return round(1000 * statistics.median(times), 4)


def models_alone(name: str) -> Any:
    """A module of `mrd_hf.models` without the package around it, which would import transformers."""
    package = "mrd_hf_models_alone"
    if package not in sys.modules:
        module = types.ModuleType(package)
        module.__path__ = [str(MODELS)]
        sys.modules[package] = module
    return importlib.import_module(f"{package}.{name}")


def shape_clouds(batch: int, num_points: int, device: torch.device | str = "cpu", seed: int = 0) -> torch.Tensor:
    """Points on the faces of boxes within the unit sphere, with colours: `(batch, num_points, 6)`."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(batch, 1, 3, generator=generator) * 0.5 + 0.08
    xyz = torch.rand(batch, num_points, 3, generator=generator) * 2 - 1
    axis = torch.randint(0, 3, (batch, num_points, 1), generator=generator)
    xyz.scatter_(2, axis, xyz.gather(2, axis).sign())
    return torch.cat([xyz * sizes, torch.rand(batch, num_points, 3, generator=generator)], dim=-1).to(device)
