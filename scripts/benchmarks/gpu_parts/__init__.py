"""The parts of gpu_report.py; each runs by itself: `python -m gpu_parts.kernels --help` in scripts/benchmarks."""
