"""Small triplet datasets for tests: coloured blobs with random teacher embeddings."""

import io
from pathlib import Path

import numpy as np
from datasets import Dataset, Features, Value
from PIL import Image

from mrd_hf.data.schema import triplet_features


WIDTH = 12
NAMES = ("chair", "mug", "lamp", "table")


def tiny_rows(count: int, num_points: int = 96, seed: int = 0) -> list[dict]:
    """Rows of the triplet schema with an image, two texts and cached embeddings, and a column of its own, `shelf`."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        name = NAMES[i % len(NAMES)]
        points = rng.standard_normal((num_points, 3)) * [1, 0.2 + 0.3 * (i % 4), 0.5]
        points = points - points.mean(axis=0)
        picture = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(picture, "PNG")
        embeds = rng.standard_normal((3, WIDTH))
        embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
        rows.append(
            {
                "schema_version": 1,
                "id": f"tiny/{name}-{i}",
                "source": "test",
                "name": name,
                "category": name,
                "license": "CC0-1.0",
                "creator": "nobody",
                "points": (points / np.linalg.norm(points, axis=1).max()).astype(np.float16),
                "colors": rng.integers(0, 256, (num_points, 3), dtype=np.uint8),
                "images": [{"bytes": picture.getvalue(), "path": None}],
                "texts": [{"text": name, "source": "name"}, {"text": f"a {name}, no. {i}", "source": "caption"}],
                "image_embeds": embeds[:1].astype(np.float16),
                "text_embeds": embeds[1:].astype(np.float16),
                "teacher": "a-teacher",
                "teacher_revision": None,
                "image_backend": "AnImageProcessor",
                "shelf": "A",
            }
        )
    return rows


def save_tiny_triplets(
    folder: Path, train: int = 40, test: int = 12, without: tuple[str, ...] = (), broken: int | None = None
) -> Path:
    """A dataset folder with the splits train and test, and class texts.

    `without` names columns to leave out; `broken` is a row of train whose cached image embedding is not finite.
    """
    features = {**triplet_features(embedding_dim=WIDTH), "shelf": Value("string")}
    features = Features({name: feature for name, feature in features.items() if name not in without})
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, count, seed in (("train", train, 0), ("test", test, 1)):
        rows = [{k: row[k] for k in features} for row in tiny_rows(count, seed=seed)]
        if split == "train" and broken is not None:
            rows[broken]["image_embeds"] = np.full((1, WIDTH), np.nan, dtype=np.float16)
        Dataset.from_list(rows, features=features).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    classes = np.random.default_rng(2).standard_normal((len(NAMES), WIDTH)).astype(np.float32)
    Dataset.from_dict({"label": list(NAMES), "text_embed": classes.tolist()}).to_parquet(
        folder / "class_texts.parquet"
    )
    return folder
