"""The parts of gpu_report.py; each runs by itself: `python -m gpu_parts.kernel_speed --help` in scripts/benchmarks."""
