"""Device, versions, and what the device does at most: products and copies."""

import functools
import importlib.metadata
import os
import platform
import shutil
import subprocess

import torch

from gpu_parts.part import Part, models_alone


PACKAGES = (
    "torch",
    "triton",
    "transformers",
    "accelerate",
    "datasets",
    "numpy",
    "safetensors",
    "pytest",
    "hypothesis",
)


def main(argv: list[str] | None = None) -> None:
    part = Part(__doc__, argv)
    part.fact("python", platform.python_version())
    for name in PACKAGES:
        try:
            part.fact(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            part.fact(name, "not installed")
    part.fact("platform", f"{platform.platform()}, {os.cpu_count()} cores")
    if part.on_gpu:
        properties = torch.cuda.get_device_properties(part.device)
        part.fact("device", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
        part.fact("multiprocessors", properties.multi_processor_count)
        part.fact("compute capability", f"{properties.major}.{properties.minor}")
        part.fact("CUDA", torch.version.cuda or f"HIP {torch.version.hip}")
        part.fact("C compiler, for Triton", shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"))
        query = ["nvidia-smi", "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
            part.fact("driver, power limit, highest clock", answer.stdout.strip())
        except (OSError, subprocess.SubprocessError) as error:
            part.note(f"nvidia-smi: {error}")
    else:
        part.fact("device", "cpu")
    sampling = models_alone("point_sampling")
    part.fact("kernels are taken", sampling._kernels_work(torch.empty(0, device=part.device).device))

    size = 128 if part.tiny else 8192
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(size, size, device=part.device, dtype=dtype) for _ in range(2))
        milliseconds = part.median_ms(functools.partial(torch.matmul, a, b))
        part.fact(f"product of {size} by {size}, {name}", f"{2 * size**3 / milliseconds / 1e9:.1f} TFLOP/s")
    source = torch.empty(2**20 if part.tiny else 2**30, dtype=torch.uint8, device=part.device)
    target = torch.empty_like(source)
    milliseconds = part.median_ms(lambda: target.copy_(source))
    part.fact("copy, read and written", f"{2 * source.numel() / milliseconds / 1e6:.0f} GB/s")
    part.finish()


if __name__ == "__main__":
    main()
