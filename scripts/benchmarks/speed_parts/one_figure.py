"""Time and peak memory of one call, in a process of its own: what was there before it is not in its peak.

python -m speed_parts.one_figure '{"encoder": "openshape-1", "what": "step", "batch": 4}'
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_parts.part import shape_clouds

from speed_parts import plain_encoder
from speed_parts.floors import wait


MIB = 2**20
CLEAR_REFS = Path("/proc/self/clear_refs")
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY |= {"num_patches": 8, "patch_size": 8, "patch_feature_size": 24, "projection_dim": 16}


def encoder(name: str, device: torch.device | str = "cpu", **fields: Any) -> Any:
    """An encoder of random weights, always the same; "tiny" is for tests."""
    from mrd_hf import PointBertConfig, PointBertModel

    torch.manual_seed(0)
    config = PointBertConfig(**TINY, **fields) if name == "tiny" else PointBertConfig.from_preset(name, **fields)
    with torch.device(device):  # where its weights are drawn
        return PointBertModel(config).eval()


def in_half(model: Any) -> Any:
    """The model as `from_pretrained(..., dtype=torch.bfloat16)` loads it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return type(model).from_pretrained(folder, dtype=torch.bfloat16).to(model.device).eval()


def objective(kind: str) -> Any:
    """`"contrastive"`, `"mrd"` with its defaults, or all six relations in the form that `kind` names."""
    from mrd_hf import MRDConfig
    from mrd_hf.models.mrd_objective import MRDObjective
    from mrd_hf.models.relation_distillation import RELATION_TERMS

    if kind in ("contrastive", "mrd"):
        return MRDObjective(MRDConfig(loss=kind))
    return MRDObjective(MRDConfig(relation_terms=list(RELATION_TERMS), relation_form=kind))


def objective_step(kind: str, batch: int, width: int, device: torch.device) -> Callable[[], Any]:
    """Forward and backward pass on random embeddings. `"plain"` is the definition."""
    generator = torch.Generator().manual_seed(0)
    point, image, text = (torch.randn(batch, width, generator=generator).to(device) for _ in range(3))
    point.requires_grad_()
    if kind == "plain":
        return lambda: plain_encoder.objective(point, image, text, 0.07).backward()
    loss = objective(kind).to(device)
    return lambda: loss(point, image, text).loss.backward()


def encoder_call(
    model: Any, clouds: torch.Tensor, what: str, plain: bool, half: bool, compiled: bool = False
) -> Callable[[], Any]:
    """`what` is "forward" or "step": forward, backward pass and AdamW, ours fused.

    A step in half precision is under autocast.
    """
    embed = (lambda values: plain_encoder.encode(model, values)) if plain else model.get_point_features
    embed = torch.compile(embed) if compiled else embed
    if what == "forward":
        model.eval()
        return torch.no_grad()(lambda: embed(clouds))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=not plain)

    def step() -> None:
        with torch.autocast(clouds.device.type, torch.bfloat16, enabled=half):
            loss = embed(clouds).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def own_memory(line: str) -> int:
    """Bytes that this process has now (`"VmRSS"`) or had at most (`"VmHWM"`); 0 where the system does not tell.

    Not `getrusage`, whose peak begins with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    found = re.search(rf"{line}:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    return 0 if found is None else int(found[1]) * 1024


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Seconds by the clock and of processor, medians of `runs` after a first one that does not count where there are
    several, and the peak above what was there before the first call, in MiB.

    Args:
        task (`dict`):
            `what` ("forward", "step" or "objective"), `batch`, and if need be `encoder`, `num_points`, `fields` of its
            configuration, `kind` of objective, `width`, `plain`, `half`, `device`, `runs`.
    """
    device = torch.device(task.get("device", "cpu"))
    plain, half, batch = task.get("plain", False), task.get("half", False), task["batch"]
    if task["what"] == "objective":
        call = objective_step(task["kind"], batch, task["width"], device)
    else:
        model = encoder(task["encoder"], device, **task.get("fields", {}))
        model = in_half(model) if half and task["what"] == "forward" and not plain else model
        call = encoder_call(model, shape_clouds(batch, task["num_points"], device), task["what"], plain, half)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    else:
        if CLEAR_REFS.exists():
            CLEAR_REFS.write_text("5")  # the highest memory starts again at the present, without that of loading
        before = own_memory("VmRSS")
    clock, processor, runs = [], [], task.get("runs", 1)
    for _ in range(runs + 1 if runs > 1 else 1):
        wait(device)
        started = time.perf_counter(), time.process_time()
        call()
        wait(device)
        clock.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else own_memory("VmHWM")
    return {
        "seconds": statistics.median(clock[-runs:]),
        "processor_seconds": statistics.median(processor[-runs:]),
        "peak_MiB": (peak - before) / MIB,
    }


def in_own_process(**task: Any) -> dict[str, float]:
    """[`measure`] in a process of its own."""
    here = Path(__file__).parents[1]
    paths = [str(here), str(here.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, "-m", "speed_parts.one_figure", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"{task}: exit status {done.returncode}: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
