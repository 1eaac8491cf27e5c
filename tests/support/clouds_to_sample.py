"""Clouds with and without equal distances."""

import numpy as np


def cloud(kind: str, num_points: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.standard_normal((num_points, 3)).astype(np.float32)
    if kind == "duplicates":
        return rng.standard_normal((3, 3)).astype(np.float32)[rng.integers(0, 3, num_points)]
    if kind == "line":
        return np.outer(rng.permutation(num_points), [1, 0, 0]).astype(np.float32)
    return rng.integers(0, 3, (num_points, 3)).astype(np.float32)  # lattice: many equal distances


KINDS = ["random", "duplicates", "line", "lattice"]
