"""Chairs, tables and lamps put together of boxes and cylinders, so that the part of each point is known.

Laid out as ShapeNetPart is. Numbers, sizes and places of legs, arms and so on are drawn at random, and the object is
turned by up to 20 degrees about the up axis, so that where a point lies alone does not tell its part.
"""

import json
from pathlib import Path

import numpy as np


# As ShapeNetPart has them.
SYNSETS = {"Chair": "03001627", "Lamp": "03636649", "Table": "04379243"}
CHAIR_BACK, CHAIR_SEAT, CHAIR_LEG, CHAIR_ARM = 12, 13, 14, 15
LAMP_BASE, LAMP_SHADE, LAMP_POLE = 24, 25, 26
TABLE_TOP, TABLE_LEG, TABLE_SHELF = 47, 48, 49
Part = tuple[np.ndarray, np.ndarray, int]


def box(center, size, part) -> Part:
    return np.asarray(center, float), np.asarray(size, float), part


def chair(rng: np.random.Generator) -> list[Part]:
    width, depth, height = rng.uniform(0.5, 1.0), rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.9)
    back, thick = rng.uniform(0.4, 1.1), rng.uniform(0.05, 0.15)
    parts = [
        box((0, height, 0), (width, thick, depth), CHAIR_SEAT),
        box((0, height + back / 2, -depth / 2), (width * rng.uniform(0.7, 1), back, thick), CHAIR_BACK),
    ]
    if rng.random() < 0.3:
        parts.append(box((0, height / 2, 0), (thick, height, thick), CHAIR_LEG))
    else:
        corners = [(x * width * 0.42, height / 2, z * depth * 0.42) for x in (-1, 1) for z in (-1, 1)]
        parts += [box(corner, (thick, height, thick), CHAIR_LEG) for corner in corners]
    if rng.random() < 0.5:
        rise = back * rng.uniform(0.3, 0.6)
        for side in (-1, 1):
            parts.append(box((side * width / 2, height + rise, 0), (thick, thick, depth * 0.8), CHAIR_ARM))
    return parts


def table(rng: np.random.Generator) -> list[Part]:
    width, depth, height = rng.uniform(0.8, 1.8), rng.uniform(0.6, 1.2), rng.uniform(0.4, 1.1)
    thick = rng.uniform(0.05, 0.15)
    parts = [box((0, height, 0), (width, thick, depth), TABLE_TOP)]
    if rng.random() < 0.3:
        parts.append(box((0, height / 2, 0), (2 * thick, height, 2 * thick), TABLE_LEG))
    else:
        corners = [(x * width * 0.44, height / 2, z * depth * 0.44) for x in (-1, 1) for z in (-1, 1)]
        parts += [box(corner, (thick, height, thick), TABLE_LEG) for corner in corners]
    if rng.random() < 0.5:
        parts.append(box((0, height * rng.uniform(0.2, 0.5), 0), (width * 0.8, thick, depth * 0.8), TABLE_SHELF))
    return parts


def lamp(rng: np.random.Generator) -> list[Part]:
    height, radius = rng.uniform(0.6, 1.8), rng.uniform(0.2, 0.45)
    shade, foot = rng.uniform(0.25, 0.6), rng.uniform(0.05, 0.15)
    parts = [
        box((0, height / 2, 0), (0.06, height, 0.06), LAMP_POLE),
        box((0, height, 0), (2 * radius, shade, 2 * radius), LAMP_SHADE),
    ]
    if rng.random() < 0.8:
        parts.append(box((0, foot / 2, 0), (rng.uniform(0.3, 0.6), foot, rng.uniform(0.3, 0.6)), LAMP_BASE))
    return parts


MAKERS = {"Chair": chair, "Lamp": lamp, "Table": table}


def sample(parts: list[Part], num_points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points on the boxes' surfaces, uniformly by area, `(num_points, 3)`, and their parts `(num_points,)`."""
    sizes = np.stack([size for _, size, _ in parts])
    faces = np.stack([sizes[:, 1] * sizes[:, 2], sizes[:, 0] * sizes[:, 2], sizes[:, 0] * sizes[:, 1]], axis=1)
    chosen = rng.choice(len(parts), num_points, p=faces.sum(axis=1) / faces.sum())
    places = rng.uniform(-0.5, 0.5, (num_points, 3))
    axes = np.array([rng.choice(3, p=faces[part] / faces[part].sum()) for part in chosen])
    places[np.arange(num_points), axes] = rng.choice([-0.5, 0.5], num_points)
    points = np.stack([center for center, _, _ in parts])[chosen] + places * sizes[chosen]
    angle = np.radians(rng.uniform(-20, 20))
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return points @ turn.T, np.array([part for _, _, part in parts])[chosen]


def composed_object(category: str, rng: np.random.Generator, num_points: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """An object of a category: its points and their parts."""
    return sample(MAKERS[category](rng), num_points, rng)


def write_composed_objects(folder: Path, counts: dict[str, int], num_points: int = 512, seed: int = 0) -> Path:
    """Write so many objects of each category for each split (`train`, `val`, `test`), in ShapeNetPart's layout."""
    rng = np.random.default_rng(seed)
    (folder / "train_test_split").mkdir(parents=True)
    (folder / "synsetoffset2category.txt").write_text("".join(f"{name}\t{of}\n" for name, of in SYNSETS.items()))
    for split in ("train", "val", "test"):
        listed = []
        for category, synset in SYNSETS.items():
            (folder / synset).mkdir(exist_ok=True)
            for number in range(counts.get(split, 0)):
                points, parts = composed_object(category, rng, num_points)
                table = np.column_stack([points, np.zeros((num_points, 2)), np.ones(num_points), parts])
                np.savetxt(folder / synset / f"{split}{number}.txt", table, fmt="%.6f")
                listed.append(f"shape_data/{synset}/{split}{number}")
        listed = [listed[i] for i in rng.permutation(len(listed))]
        (folder / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(listed))
    return folder
