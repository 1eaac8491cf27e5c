"""The tests with the marker `device`, on the GPU."""

import importlib.util
import os
import re
import subprocess
import sys

from gpu_parts.part import ROOT, Part


PROCESSES = 8  # each compiles its kernels
# Without these, some files cannot be imported; several processes take that for an error of their own.
NEEDED = ("xdist", "datasets", "hypothesis")


def main(argv: list[str] | None = None) -> None:
    part = Part(__doc__, argv)
    tests = ROOT / "tests"
    # Files without them are not collected: they import packages that may not be here.
    files = [file for file in sorted(tests.rglob("test_*.py")) if "mark.device" in file.read_text()]
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--tb=short", "-m", "device"]
    command += ["--durations=5", *map(str, files)]
    if all(map(importlib.util.find_spec, NEEDED)):
        command += ["-n", str(min(PROCESSES, os.cpu_count() or 1))]
    else:  # one process, which runs what it can import
        command += ["--continue-on-collection-errors"]
    # Kernels are to be compiled, and one that hangs is to end before this part does.
    env = {**os.environ, "TRITON_INTERPRET": "0"} if part.on_gpu else dict(os.environ)
    timeout = max(5, int(part.seconds_left()) - 5)
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        written = error.stdout or b""
        text = written.decode(errors="replace") if isinstance(written, bytes) else written
        print(text)
        count = {word: len(re.findall(rf"\b{word}\b", text)) for word in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
        part.fact("pytest -m device", ", ".join(f"{number} {word.lower()}" for word, number in count.items()))
        part.note(f"not done after {timeout} s: {text[-1500:]}")
        sys.exit(1)
    print(done.stdout, done.stderr)
    part.fact("pytest -m device", done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:])
    for line in re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE):
        part.note(line[:300])
    part.finish()
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
