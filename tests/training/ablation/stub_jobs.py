"""Jobs of an ablation whose stages are small scripts without torch."""

import sys
from pathlib import Path

from mrd_hf.training.ablation.running import Job, Stage
from mrd_hf.training.ablation.status import checked_status


# Trains for some steps, with a checkpoint each, from the last one on; a number stands for the weights.
TRAIN = """
import json, pathlib, sys, time
folder, seconds = pathlib.Path(sys.argv[1]) / "pretrain", float(sys.argv[2])
folder.mkdir(exist_ok=True)
found = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
step = int(found[-1].name.split("-")[1]) if found else 0
weight = float((found[-1] / "weight").read_text()) if found else 1.0
with open(folder.parent / "begun", "a") as file:
    file.write(f"{step}\\n")
while step < 4:
    time.sleep(seconds)
    step, weight = step + 1, weight * 1.5 + step
    new = folder / f"incomplete-{step}"
    new.mkdir(exist_ok=True)
    (new / "weight").write_text(str(weight))
    new.rename(folder / f"checkpoint-{step}")
(folder / "encoder").write_text(str(weight))
"""
EVALUATE = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "validation").mkdir(exist_ok=True)
(folder / "validation" / "report").write_text((folder / "pretrain" / "encoder").read_text())
"""
FAIL = """
import sys
print("learning rate too high")
sys.exit(3)
"""
# As `mrd_hf_cli.attended` does it: gone as soon as the starter is.
WATCH = """
import os, threading
def watch():
    while os.read(0, 100):
        pass
    os._exit(143)
threading.Thread(target=watch, daemon=True).start()
"""


def stub_job(out: Path, name: str, seconds: float = 0.0, fails: str | None = None) -> Job:
    """A job; `fails` is the stage that does, if any."""
    folder = out / name
    scripts = {"pretrain": TRAIN, "validation": EVALUATE}
    stages = [
        Stage(
            stage,
            [sys.executable, "-c", WATCH + (FAIL if stage == fails else script), str(folder), str(seconds)],
            resumes=stage == "pretrain",
        )
        for stage, script in scripts.items()
    ]
    return Job(name, folder, stages, checked_status(folder, f"told {name}", 1))
