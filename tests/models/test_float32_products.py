"""Products of float32 are exact for a while, and afterwards as they were before."""

import pytest
import torch
from support.forked_processes import run_command


# Each in a process of its own, as who has set the newer name cannot read the older one.
SETTINGS = {
    "nothing": "",
    "allow_tf32": "torch.backends.cuda.matmul.allow_tf32 = True",
    "precision of all": "torch.set_float32_matmul_precision('medium')",
}
if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
    SETTINGS["newer name"] = "torch.backends.cuda.matmul.fp32_precision = 'tf32'"
PROGRAM = """
import torch
from mrd_hf.models.float32_products import exact_float32_products

matmul = torch.backends.cuda.matmul
newer = hasattr(matmul, "fp32_precision")
rounded = lambda: matmul.fp32_precision == "tf32" if newer else matmul.allow_tf32
{setting}
before = rounded()
for _ in range(2):
    with exact_float32_products():
        assert not rounded()
    assert rounded() == before
try:
    with exact_float32_products():
        raise KeyError
except KeyError:
    pass
assert rounded() == before == bool({setting!r})
"""


@pytest.mark.parametrize("setting", SETTINGS)
def test_exact_for_a_while(setting, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(setting=SETTINGS[setting]))
    done = run_command([program], timeout=100)
    assert done.returncode == 0, done.stderr
