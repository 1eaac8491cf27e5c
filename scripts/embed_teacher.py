"""Cache a frozen teacher's image and text embeddings in a prepared triplet dataset.

    python scripts/embed_teacher.py data/furniture --teacher openai/clip-vit-base-patch32

writes data/furniture-clip-vit-base-patch32, with the columns image_embeds, text_embeds and teacher.
"""

import argparse
from pathlib import Path

import torch

from mrd_hf.data.teacher_embedding import check_folders, embed_dataset_folder
from mrd_hf.errors import run_script
from mrd_hf.evaluation.prompt_templates import SIMPLE_TEMPLATES
from mrd_hf.teacher import Teacher


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="folder of the prepared dataset (data/<split>-*.parquet)")
    parser.add_argument("--teacher", required=True, help="image-text dual encoder: a Hub id or a local folder")
    parser.add_argument("--revision", help="branch, tag or commit of the teacher on the Hub")
    parser.add_argument("--out", type=Path, help="folder to write; by default DATASET-<the teacher's short name>")
    parser.add_argument("--batch_size", type=int, default=64, help="images, or texts, embedded at a time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where it runs")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run left in the folder")
    arguments = parser.parse_args()
    if arguments.batch_size < 1:
        parser.error(f"--batch_size must be at least 1, not {arguments.batch_size}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    folder: Path = arguments.dataset
    short_name = arguments.teacher.rstrip("/").split("/")[-1]
    out = arguments.out or folder.with_name(f"{folder.resolve().name}-{short_name}")
    check_folders(folder, out, arguments.overwrite)  # before the teacher's download
    teacher = Teacher.from_pretrained(arguments.teacher, revision=arguments.revision, device=arguments.device)
    splits = embed_dataset_folder(folder, out, teacher, SIMPLE_TEMPLATES, batch_size=arguments.batch_size)
    counts = ", ".join(f"{split} {len(dataset)}" for split, dataset in splits.items())
    print(f"wrote {out} ({counts}; embeddings of width {teacher.embedding_dim} by {teacher.identifier})")


if __name__ == "__main__":
    run_script(main)
