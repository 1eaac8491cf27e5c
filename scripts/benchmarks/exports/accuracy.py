"""What lower precision costs: exported encoders beside torch on the demo's held-out shapes.

    make demo
    python scripts/benchmarks/exports/accuracy.py outputs/demo/encoder

For each precision: the file's size, the lowest cosine of an embedding to torch's, how many shapes get the same first
label, those that get another one with its two best scores, and zero-shot accuracy.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset, load_dataset

from mrd_hf.data.class_texts import read_class_texts
from mrd_hf.encoder import Encoder, load_encoder
from mrd_hf.evaluation.encoding import encode_dataset
from mrd_hf.exporting.checking import compare
from mrd_hf.exporting.onnx_encoder import open_onnx_encoder
from mrd_hf.exporting.onnx_model import OnnxModel
from mrd_hf.exporting.writing import DTYPES, Dtype, export_encoder
from mrd_hf.models.label_ranking import rank_labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the encoder's folder")
    parser.add_argument("--dataset", default="scripts/demo_data", help="with a split test (default: the demo's)")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    dataset = load_dataset(arguments.dataset, split="test")
    labels, class_embeds = read_class_texts(Path(arguments.dataset) / "class_texts.parquet")
    categories = list(dataset["category"])
    ranked = {"torch": encode_dataset(encoder.model, encoder.extractor, dataset).numpy()}
    sizes = {}
    for dtype in DTYPES:
        sizes[dtype], ranked[dtype] = exported_embeddings(encoder, dtype, dataset)
    guesses = {
        name: [rank_labels(embed, labels, class_embeds, encoder.config.logit_scale, 5) for embed in embeds]
        for name, embeds in ranked.items()
    }
    print("| | MB | lowest cosine to torch's | same first label | top-1 | top-5 |\n|---|---|---|---|---|---|")
    for name, embeds in ranked.items():
        cosine = 1 - compare(embeds, ranked["torch"]).cosine_distance
        same = sum(a[0]["label"] == b[0]["label"] for a, b in zip(guesses[name], guesses["torch"], strict=True))
        first, fifth = (accuracy(guesses[name], categories, k) for k in (1, 5))
        size = f"{sizes[name] / 1e6:.2f}" if name in sizes else "-"
        print(f"| {name} | {size} | {cosine:.6f} | {same} of {len(embeds)} | {first:.1%} | {fifth:.1%} |")
    for name in sizes:
        for id_, here, there in zip(dataset["id"], guesses[name], guesses["torch"], strict=True):
            if here[0]["label"] != there[0]["label"]:
                print(f"{name}, {id_}: {two_best(here)}; torch: {two_best(there)}")


def exported_embeddings(encoder: Encoder, dtype: Dtype, dataset: Dataset) -> tuple[int, np.ndarray]:
    """Bytes of an exported file, and what it embeds the shapes into."""
    with tempfile.TemporaryDirectory() as folder:
        written = export_encoder(encoder, Path(folder) / "onnx", dtype)
        model = OnnxModel(open_onnx_encoder(Path(folder) / "onnx" / "encoder.onnx"))
        return written.sizes["encoder.onnx"], encode_dataset(model, model.extractor, dataset).numpy()


def two_best(guesses: list) -> str:
    return ", ".join(f"{guess['label']} {guess['score']:.3f}" for guess in guesses[:2])


def accuracy(guesses: list, categories: list[str | None], k: int) -> float:
    """Share of the shapes with a category that have it among their first `k` guesses."""
    hits = [
        category in [guess["label"] for guess in ranked[:k]]
        for ranked, category in zip(guesses, categories, strict=True)
        if category is not None
    ]
    return float(np.mean(hits))


if __name__ == "__main__":
    main()
