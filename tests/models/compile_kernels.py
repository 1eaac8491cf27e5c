"""Compiles the kernels for an H100 and prints how many fused multiply-adds and flushes to zero each has.

python compile_kernels.py FOLDER_OF_THE_KERNELS
"""

import re
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


sys.path.insert(0, sys.argv[1])  # alone: the package would import transformers
import grouping_kernels  # noqa: E402
import sampling_kernels  # noqa: E402


TYPES = {"picked": "*i64", "members": "*i64", "found": "*i32", "squared_radius": "fp32"}
POINTERS = ("rows", "centers", "nearest", "values", "groups", "gradients", "sums")
TARGET = GPUTarget("cuda", 90, 32)


def operations(kernel, num_warps: int, fused: bool = False, **constants: object) -> int:
    signature = {}
    for name in kernel.arg_names:
        plain = "*fp32" if name in POINTERS else TYPES.get(name, "i32")
        signature[name] = "constexpr" if name in constants else plain
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    options = {"num_warps": num_warps, "enable_fp_fusion": fused}
    return len(re.findall(r"\bfma\.|\.ftz", triton.compile(source, target=TARGET, options=options).asm["ptx"]))


on_chip = sampling_kernels._sample_on_chip
print("with fusion", operations(on_chip, 4, fused=True, BLOCK=512, RESIDENT=True))
print("on chip, resident", operations(on_chip, 4, BLOCK=512, RESIDENT=True))
print("on chip", operations(on_chip, 32, BLOCK=2**14, RESIDENT=False))
print("in blocks", operations(sampling_kernels._sample_in_blocks, 16, BLOCK=2**12))
print("balls", operations(sampling_kernels._query_balls, 1, BLOCK=256, SAMPLES=32))
print("nearest", operations(sampling_kernels._query_nearest, 4, BLOCK=512, WHOLE=True, PART=256))
print("gather", operations(grouping_kernels._gather, 4, CHANNELS=9, REPEATED=3, BLOCK=1024))
print("scatter", operations(grouping_kernels._scatter, 4, CHANNELS=6, REPEATED=0, BLOCK=1024))
