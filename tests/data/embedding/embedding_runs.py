"""Runs of scripts/embed_teacher.py's work in processes that can be killed, on a small dataset of several files."""

import io
import multiprocessing
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from PIL import Image

from mrd_hf.data.embedding.teacher_embedding import embed_dataset_folder
from mrd_hf.data.schema import triplet_features
from mrd_hf.teacher import Teacher


NUM_FILES = 3
ROWS_PER_FILE = 4


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def image_row(shape_id: str, images: list[bytes | None], texts: list[tuple[str | None, str]]) -> dict:
    """A row of the triplet schema with these images and texts, and a point."""
    return {
        **dict.fromkeys(("category", "license", "creator")),
        "schema_version": 1,
        "id": shape_id,
        "source": "test",
        "name": shape_id,
        "points": np.zeros((1, 3), dtype=np.float16),
        "colors": np.zeros((1, 3), dtype=np.uint8),
        "images": [content and {"bytes": content, "path": None} for content in images],
        "texts": [{"text": text, "source": source} for text, source in texts],
    }


def write_files(folder: Path, rows: list[list[dict]]) -> Path:
    """A dataset whose train split has a file for each list of rows."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for index, its_rows in enumerate(rows):
        columns = {name: [row[name] for row in its_rows] for name in triplet_features()}
        dataset = Dataset.from_dict(columns, features=triplet_features())
        dataset.to_parquet(folder / "data" / f"train-{index:05d}-of-{len(rows):05d}.parquet")
    return folder


def write_numbered(folder: Path) -> Path:
    """A dataset of several files, each row with an image and a text of its own and one text that all have."""
    count = NUM_FILES * ROWS_PER_FILE
    texts = ["abcdefghijklmnop"[number] for number in range(count)]
    rows = [
        image_row(f"shape-{number}", [png(number)], [(texts[number], "name"), ("a chair", "caption")])
        for number in range(count)
    ]
    return write_files(folder, [rows[start : start + ROWS_PER_FILE] for start in range(0, count, ROWS_PER_FILE)])


class WaitingTeacher(Teacher):
    """Waits at its second file's images until a file `gate` is there."""

    def __init__(self, teacher: Teacher, gate: Path) -> None:
        self.gate = None
        super().__init__(teacher.model, teacher.processor, teacher.model_id, teacher.revision, teacher.name)
        self.gate, self.embedded = gate, 0

    def embed_images(self, images: list[Image.Image]) -> torch.Tensor:
        if self.gate is not None:
            if self.embedded >= ROWS_PER_FILE:
                self.gate.with_name("waiting").touch()
                while not self.gate.exists():
                    time.sleep(0.02)
            self.embedded += len(images)
        return super().embed_images(images)


def run(folder: Path, out: Path, teacher_folder: Path, gate: Path) -> None:
    torch.set_num_threads(1)
    embed_dataset_folder(folder, out, WaitingTeacher(Teacher.from_pretrained(teacher_folder), gate), ["{}"])


def start(folder: Path, out: Path, teacher_folder: Path, gate: Path) -> BaseProcess:
    """Begin to embed a dataset in another process, which stops in the middle of its second file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mrd_hf.data.embedding.teacher_embedding"])
    process = context.Process(target=run, args=(folder, out, teacher_folder, gate))
    process.start()
    return process
