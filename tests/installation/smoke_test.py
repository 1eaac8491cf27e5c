#!/usr/bin/env python
"""Does this installation work? Writes and replaces files, saves a small encoder, embeds a chair and classifies it.

    python tests/installation/smoke_test.py

It needs the package and nothing else, not even a network. CI runs it on Linux, macOS and Windows; `make dist` runs it
on the wheel.
"""

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline

import mrd_hf
from mrd_hf.files.atomic_file import atomic_file
from mrd_hf.files.atomic_folder import atomic_folder


CHAIR = Path(__file__).resolve().parents[2] / "scripts" / "demo_data" / "shapes" / "chair.glb"
LABELS = ["chair", "mug", "lamp"]
WIDTH = 16


def save_encoder(folder: Path) -> None:
    """Save an encoder that has learned nothing, and its extractor."""
    torch.manual_seed(0)
    config = mrd_hf.PointBertConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_patches=8,
        patch_size=16,
        projection_dim=WIDTH,
        logit_scale=20.0,
    )
    mrd_hf.PointBertModel(config).save_pretrained(folder)
    mrd_hf.PointCloudFeatureExtractor(num_points=512).save_pretrained(folder)


def save_labels(path: Path) -> np.ndarray:
    """Save a table of labels with random embeddings; returns these, of length 1, as `(labels, WIDTH)`."""
    embeds = np.random.default_rng(0).standard_normal((len(LABELS), WIDTH)).astype(np.float32)
    embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
    pq.write_table(pa.table({"label": LABELS, "text_embed": list(embeds)}), path)
    return embeds


def expected_scores(embedding: np.ndarray, label_embeds: np.ndarray) -> dict[str, float]:
    """The softmax of 20 times the cosines, computed here."""
    logits = 20 * label_embeds @ (embedding / np.linalg.norm(embedding))
    exponents = np.exp(logits - logits.max())
    return dict(zip(LABELS, (exponents / exponents.sum()).tolist(), strict=True))


def classify_on_the_command_line(encoder: Path, labels: Path) -> dict[str, float]:
    """The scores that `mrd-hf classify` prints."""
    folder = sysconfig.get_path("scripts")
    program = shutil.which("mrd-hf", path=folder)
    if program is None:
        sys.exit(f"error: {folder} has no command mrd-hf; install the package into this environment.")
    command = [program, "classify", str(CHAIR), "--model", str(encoder), "--class-texts", str(labels), "--json"]
    (result,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {label["label"]: label["score"] for label in result["labels"]}


def write_and_replace(folder: Path) -> None:
    """What systems differ in: files and folders that take the place of others of their names."""
    for content in ("first", "second"):
        with atomic_file(folder / "file.txt") as sink:
            sink.write(content.encode())
        with atomic_folder(folder / "folder") as new:
            (new / "inner").mkdir()
            (new / "inner" / "file.txt").write_text(content)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    texts = {path.read_text() for path in folder.rglob("*.txt")}
    if found != ["file.txt", "folder", "folder/inner", "folder/inner/file.txt"] or texts != {"second"}:
        sys.exit(f"error: after files were replaced there are {found}, with {texts}.")
    print("ok: write and replace")


def check(name: str, found: dict[str, float], expected: dict[str, float]) -> None:
    """End with an error unless the scores are those expected."""
    same = found.keys() == expected.keys() and np.allclose(
        [found[label] for label in expected], list(expected.values()), atol=1e-4
    )
    if not same:
        sys.exit(f"error: {name} gave {found}, expected {expected}.")
    print(f"ok: {name}: " + ", ".join(f"{label} {score:.3f}" for label, score in found.items()))


def main() -> None:
    """Run the checks; ends with an error message and a code other than 0 at the first that fails."""
    print(f"mrd_hf {mrd_hf.__version__} in {Path(mrd_hf.__file__).parent}, Python {sys.version.split()[0]}")
    # Windows cannot remove the weights while they are mapped.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        encoder, labels = Path(name) / "encoder", Path(name) / "labels.parquet"
        (Path(name) / "written").mkdir()
        write_and_replace(Path(name) / "written")
        save_encoder(encoder)
        label_embeds = save_labels(labels)
        model = AutoModel.from_pretrained(encoder)
        extractor = AutoFeatureExtractor.from_pretrained(encoder)
        embedding = model.get_point_features(**extractor(CHAIR)).detach().numpy()
        if embedding.shape != (1, WIDTH) or not np.isfinite(embedding).all():
            sys.exit(f"error: the chair's embedding is {embedding}.")
        print(f"ok: load and embed: {embedding.shape}")
        expected = expected_scores(embedding[0], label_embeds)
        classify = pipeline("zero-shot-point-cloud-classification", model=str(encoder), device="cpu")
        result = classify(str(CHAIR), candidate_labels=LABELS, class_embeds=label_embeds)
        check("pipeline", {label["label"]: label["score"] for label in result}, expected)
        check("mrd-hf classify", classify_on_the_command_line(encoder, labels), expected)


if __name__ == "__main__":
    main()
