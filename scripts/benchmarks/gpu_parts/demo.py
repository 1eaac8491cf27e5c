"""What `make demo` runs, on the device: pretraining on the embedded furniture, then evaluation."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_parts.part import ROOT, Part


def main(argv: list[str] | None = None) -> None:
    part = Part(__doc__, argv)
    data = ROOT / "scripts" / "demo_data"
    dataset = ["--dataset", str(data), "--class-texts", str(data / "class_texts.parquet")]
    environment = dict(os.environ) if part.on_gpu else {**os.environ, "ACCELERATE_USE_CPU": "true"}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "demo"
        # The teacher's text half comes with a package of the demo's, which scores do not need.
        training = ["mrd_hf.commands.pretrain", "--config", "demo", *dataset, "--output-dir", str(run)]
        training += ["--eval-steps", "600", "--text-towers", "{}"]
        training += ["--num-train-steps", "2", "--per-device-batch-size", "4"] if part.tiny else []
        evaluation = ["mrd_hf.commands.evaluate", "--model", str(run / "encoder"), *dataset, "-o", str(run / "scores")]
        for name, command in (("pretraining", training), ("evaluation", evaluation)):
            started = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", *command], env=environment, cwd=ROOT, capture_output=True, text=True
            )
            part.fact(f"{name}, seconds", round(time.monotonic() - started, 1))
            if done.returncode:
                part.note(f"{name} failed: {done.stderr[-1500:]}")
                part.finish()
                raise SystemExit(f"{name} failed: {done.stderr[-1500:]}")
        for score in json.loads((run / "scores" / "report.json").read_text())["metrics"]:
            part.row("Scores of the demo", **{name: score[name] for name in ("title", "value", "low", "high")})
    part.finish()


if __name__ == "__main__":
    main()
