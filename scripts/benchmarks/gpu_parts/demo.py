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
            try:
                done = subprocess.run(
                    [sys.executable, "-m", *command],
                    env=environment,
                    cwd=ROOT,
                    capture_output=True,
                    timeout=max(1, part.seconds_left()),
                )
            except subprocess.TimeoutExpired as error:
                text = (error.stderr or b"").decode(errors="replace")
                part.note(f"{name} not done after {error.timeout:.0f} s: {text[-1500:]}")
                raise SystemExit(f"{name} not done") from None
            part.fact(f"{name}, seconds", round(time.monotonic() - started, 1))
            if done.returncode:
                text = done.stderr.decode(errors="replace")
                part.note(f"{name} failed: {text[-1500:]}")
                part.finish()
                raise SystemExit(f"{name} failed: {text[-1500:]}")
        for score in json.loads((run / "scores" / "report.json").read_text())["metrics"]:
            part.row("Scores of the demo", **{name: score[name] for name in ("title", "value", "low", "high")})
    part.finish()


if __name__ == "__main__":
    main()
