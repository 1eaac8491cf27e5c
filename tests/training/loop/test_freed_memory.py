"""Freed memory that stays with the process: counted by the page faults of getting it again."""

import subprocess
import sys

import pytest
from support.paths import ROOT


PROGRAM = """
import resource, runpy, sys
import numpy as np

keep_freed_memory = runpy.run_path(sys.argv[1])["keep_freed_memory"]
kept = keep_freed_memory() if sys.argv[2] == "keep" else False
for repetition in range(6):  # the first ones let glibc's own thresholds grow, up to 32 MiB
    if repetition == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MiB
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str, **environment: str) -> tuple[bool, int]:
    file = ROOT / "src" / "mrd_hf" / "training" / "loop" / "freed_memory.py"
    command = [sys.executable, "-c", PROGRAM, str(file), *arguments]
    kept, number = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return kept == "True", int(number)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_what_is_freed_is_not_asked_for_again():
    gives_back, number = faults("give back")
    keeps, number_kept = faults("keep")
    assert not gives_back and keeps
    assert number_kept < number / 20


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_users_settings_stand():
    kept, _ = faults("keep", MALLOC_ARENA_MAX="2")
    assert not kept
