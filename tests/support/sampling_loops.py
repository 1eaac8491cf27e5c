"""What picking and grouping points means, point by point."""

import numpy as np


def loop_distances(center: np.ndarray, points: np.ndarray) -> np.ndarray:
    x, y, z = (points - center).T
    return (x * x + y * y) + z * z


def loop_farthest(points: np.ndarray, num_samples: int) -> list[int]:
    picked = [0]
    nearest = loop_distances(points[0], points)
    while len(picked) < num_samples:
        picked.append(int(nearest.argmax()))  # argmax: the first of equals
        nearest = np.minimum(nearest, loop_distances(points[picked[-1]], points))
    return picked


def loop_ball(center: np.ndarray, points: np.ndarray, radius: float, num_samples: int) -> list[int]:
    inside = [i for i, distance in enumerate(loop_distances(center, points)) if distance <= radius**2][:num_samples]
    return inside + [inside[0]] * (num_samples - len(inside))


def loop_nearest(center: np.ndarray, points: np.ndarray, num_samples: int) -> list[int]:
    distances = loop_distances(center, points)
    order = sorted(range(len(points)), key=lambda i: (distances[i], i))[:num_samples]
    return order + [order[0]] * (num_samples - len(order))
