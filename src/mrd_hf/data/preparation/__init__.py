"""Writing a dataset in parts, by several workers and runs, resumable."""
