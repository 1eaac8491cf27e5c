"""Everything that is to be known of this package on a GPU, by one command, for whoever has one for ten minutes.

    python scripts/benchmarks/gpu_report.py --minutes 8 --out outputs/gpu

Each part runs in a process of its own for its share of the time; what one leaves, the next ones get. One that fails or
runs out of time does not stop the others, and what it has measured by then counts. The folder gets `report.md`, a
section for model_cards/RESULTS.md, and `results.json`, rewritten every few seconds, and `log.txt` with what the parts
print. It needs nothing but this clone and the environment's packages; the package itself need not be installed. Where
there is no GPU, parts run on the CPU; `--tiny` is for tests.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple


ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
STOPPING = 8  # seconds between the end of a part's time and the end of its process


class PartOfReport(NamedTuple):
    title: str
    share: float  # of the time
    command: list[str]  # gets --device, --seconds, --output and, if asked for, --tiny


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"gpu_parts.{name}"]


# The first to import torch waits for the disk. What fills any time comes last, with what the others have left.
PARTS = {
    "machine": PartOfReport("Device and versions", 60, _module("machine")),
    "kernels": PartOfReport("Kernels beside the torch path", 85, _module("kernel_speed")),
    "golden": PartOfReport("Recordings of the original networks", 45, _module("golden")),
    "tests": PartOfReport("Tests that have a device", 110, _module("device_tests")),
    "precisions": PartOfReport("fp16's scaler, SyncBatchNorm, pinned memory", 80, _module("precisions")),
    "demo": PartOfReport("The recipe of make demo", 60, _module("demo")),
    "objective": PartOfReport("The objective at a large batch", 30, _module("objective")),
    "encoders": PartOfReport("Training steps of encoders", 130, _module("encoders")),
}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together (default: 8)")
    parser.add_argument("--out", type=Path, required=True, help="folder of report.md, results.json and log.txt")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all, in order")
    parser.add_argument("--device", help="default: the first GPU, else the CPU")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try the script itself")
    return parser.parse_args(argv)


def environment(work: Path, device: str | None = None) -> dict[str, str]:
    """This process's, with the clone's packages first; the package's version even if it is not installed. Of the GPUs
    only the device is seen, as what is started by a command of its own takes the first."""
    try:
        metadata.version("mrd-hf")
    except metadata.PackageNotFoundError:
        stand_in = work / "stand_in" / "mrd_hf-0.dist-info"
        stand_in.mkdir(parents=True, exist_ok=True)
        (stand_in / "METADATA").write_text("Metadata-Version: 2.1\nName: mrd-hf\nVersion: 0\n")
    paths = [ROOT / "src", HERE, ROOT / "tests", work / "stand_in", os.environ.get("PYTHONPATH", "")]
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    kind, _, number = (device or "").partition(":")
    if kind == "cpu" or number:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(int(number or 0) + 1)))
        offline["CUDA_VISIBLE_DEVICES"] = seen.split(",")[int(number)] if kind == "cuda" else ""
    return {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(str(path) for path in paths if str(path))}


def read_results(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return {}


def cell(value: Any) -> str:
    text = "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    heads = [cell(column.replace("_", " ")) for column in columns]
    body = [[cell(row.get(column)) for column in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(columns), *body)]


def markdown(report: dict[str, Any]) -> str:
    """The section for the results log."""
    machine = report["parts"].get("machine", {}).get("facts", {})
    lines = [f"## {report['date']}, on {machine.get('device', 'a device')}", ""]
    lines += [f"Commit {report['commit']}. `{report['command']}`", ""]
    for part in report["parts"].values():
        lines += [f"### {part['title']}", "", f"{part['status']}, {part['seconds']:.0f} s", ""]
        facts = [{"what": name, "found": value} for name, value in part.get("facts", {}).items()]
        lines += [*table(facts), ""] if facts else []
        for title, rows in part.get("tables", {}).items():
            lines += [f"{title}:", "", *table(rows), ""]
        lines += [f"- {cell(note)}" for note in part.get("notes", [])]
        lines += [""] if part.get("notes") else []
    return "\n".join(lines)


def write(report: dict[str, Any], out: Path) -> None:
    for name, text in (("results.json", json.dumps(report, indent=2) + "\n"), ("report.md", markdown(report))):
        beside = out / f"{name}.tmp"
        beside.write_text(text)
        os.replace(beside, out / name)


def stop(process: subprocess.Popen[bytes]) -> None:
    """The part and what it started: a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_part(
    name: str, seconds: float, arguments: argparse.Namespace, report: dict[str, Any], work: Path, env: dict[str, str]
) -> None:
    """Run one part for so many seconds; its results go into the report as they come."""
    part, results, output = PARTS[name], work / f"{name}.json", work / f"{name}.log"
    command = [*part.command, "--seconds", f"{max(1.0, seconds - STOPPING):.0f}", "--output", str(results)]
    command += ["--device", arguments.device.partition(":")[0]] if arguments.device else []
    command += ["--tiny"] if arguments.tiny else []
    started = time.monotonic()
    # By the same clock: a part has less where importing torch takes long.
    env = {**env, "REPORT_END": str(started + seconds - STOPPING)}

    def update(status: str) -> None:
        taken = time.monotonic() - started
        report["parts"][name] = {"title": part.title, "status": status, "seconds": taken, **read_results(results)}
        write(report, arguments.out)

    with output.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        status = "running"
        while status == "running":
            try:
                code = process.wait(timeout=min(2.0, max(0.05, started + seconds - time.monotonic())))
                status = "finished" if code == 0 else f"failed with exit status {code}"
            except subprocess.TimeoutExpired:
                if time.monotonic() - started >= seconds:
                    status = f"stopped after its {seconds:.0f} s"
            except BaseException:
                stop(process)
                raise
            update(status)
        stop(process)  # what it has left running
    update(status)
    text = output.read_text(errors="replace")
    if status != "finished":
        report["parts"][name].setdefault("notes", []).append(f"Its last words: {text[-1500:].strip()}")
        write(report, arguments.out)
    with (arguments.out / "log.txt").open("a") as log_file:
        log_file.write(f"===== {name}: {status}\n{text[-200_000:]}\n")
    print(f"{name}: {status}, {report['parts'][name]['seconds']:.0f} s", flush=True)


def commit() -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "log.txt").write_text("")
    options = sys.argv[1:] if argv is None else argv
    report: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "command": " ".join(["python scripts/benchmarks/gpu_report.py", *options]),
        "parts": {},
    }
    shares = {name: PARTS[name].share for name in arguments.parts}
    total = sum(shares.values())
    print(f"{arguments.minutes:g} minutes, into {arguments.out}:", flush=True)
    for name, share in shares.items():
        print(f"  {name:<11}{60 * arguments.minutes * share / total:4.0f} s  {PARTS[name].title}", flush=True)
    end = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        env = environment(work, arguments.device)
        for i, name in enumerate(arguments.parts):
            left = end - time.monotonic()
            seconds = left * shares[name] / sum(shares[later] for later in arguments.parts[i:])
            run_part(name, seconds, arguments, report, work, env)
    print("\n" + markdown(report))
    return 0 if all(part["status"] == "finished" for part in report["parts"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
