"""Score a trained encoder on held-out shapes, and draw what it takes them for.

    python scripts/evaluate.py --model outputs/demo/encoder --dataset scripts/demo_data \
        --class_texts scripts/demo_data/class_texts.parquet --out outputs/demo/evaluation
"""

import argparse
import json
from pathlib import Path

from transformers import AutoFeatureExtractor, AutoModel

import mrd_hf  # noqa: F401  (registers the Auto classes)
from mrd_hf.data.loading import load_triplets
from mrd_hf.errors import UserError, run_script
from mrd_hf.evaluation.contact_sheet import write_contact_sheet
from mrd_hf.evaluation.encoding import encode_dataset
from mrd_hf.evaluation.held_out import HeldOutSet, as_dict, evaluate_held_out, format_table


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Score a trained encoder on held-out shapes: zero-shot classification, retrieval, neighbours.",
        epilog="The dataset needs cached embeddings of the encoder's teacher (scripts/embed_teacher.py).",
    )
    parser.add_argument("--model", required=True, help="the encoder: a folder or an id on the Hub")
    parser.add_argument("--dataset", required=True, help="triplet dataset: a folder or an id on the Hub")
    parser.add_argument("--split", default="test", help="split to score on (default: test)")
    parser.add_argument("--class_texts", help="parquet file of classes (label, text_embed), for zero-shot")
    parser.add_argument("--out", type=Path, required=True, help="folder for report.json and contact_sheet.png")
    parser.add_argument("--batch_size", type=int, default=64, help="shapes to encode at once (default: 64)")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    try:
        model = AutoModel.from_pretrained(arguments.model)
        extractor = AutoFeatureExtractor.from_pretrained(arguments.model)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the model {arguments.model}: {error}") from None
    dataset = load_triplets(arguments.dataset, arguments.split)
    held_out = HeldOutSet.from_dataset(dataset, arguments.class_texts, name=arguments.dataset)
    width, teacher_width = model.config.embedding_size, held_out.image_embeds.shape[1]
    if width != teacher_width:
        raise UserError(
            f"{arguments.model} embeds into width {width}, the teacher of {arguments.dataset} into {teacher_width}; "
            f"embed the dataset with the encoder's own teacher, {model.config.teacher_id} (scripts/embed_teacher.py)."
        )
    embeds = encode_dataset(model, extractor, dataset, batch_size=arguments.batch_size, progress=True)
    report = evaluate_held_out(embeds, held_out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "report.json").write_text(json.dumps(as_dict(report), indent=2) + "\n")
    print(format_table(report))
    if len(held_out.labeled) > 0:
        write_contact_sheet(arguments.out / "contact_sheet.png", dataset, embeds, held_out)
        print(f"contact sheet: {arguments.out / 'contact_sheet.png'}")


if __name__ == "__main__":
    run_script(main)
