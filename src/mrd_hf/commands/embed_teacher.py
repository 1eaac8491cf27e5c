r"""Cache a frozen teacher's image and text embeddings in a prepared triplet dataset.

    mrd-hf embed-teacher data/furniture --teacher openai/clip-vit-base-patch32

writes data/furniture-clip-vit-base-patch32, with the columns image_embeds, text_embeds, teacher, teacher_revision and
image_backend, and a report.json with the settings and what was left out; with --class-texts also class_texts.parquet,
which `mrd-hf evaluate` and `mrd-hf pretrain` take as --class-texts. A run that was killed resumes when the same
command is given again: files that are finished stay.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch

from ..data.class_texts import CLASS_TEXTS_FILE
from ..data.embedding.teacher_embedding import (
    categories_of,
    check_folders,
    embed_dataset_folder,
)
from ..errors import UserError
from ..evaluation.classes.prompt_templates import TEMPLATES
from ..teacher import Teacher
from ..training.distributed import set_cpu_threads
from .arguments import CommandParser, check_revision
from .termination import exit_on_sigterm


EXAMPLES = """\
on several GPUs, each with files of its own; on a machine without any, with ACCELERATE_USE_CPU=true:
  accelerate launch --multi_gpu -m mrd_hf.commands.embed_teacher data/furniture \\
    --teacher openai/clip-vit-base-patch32 --dtype bfloat16

the same by a Slurm array of 16 tasks, with nothing to merge:
  sbatch --array=0-15 --wrap 'mrd-hf embed-teacher data/furniture \\
    --teacher openai/clip-vit-base-patch32 --num-shards 16 --shard-index $SLURM_ARRAY_TASK_ID'
"""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CLASS_TEMPLATES = "simple"
LISTED = 10


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="mrd-hf embed-teacher",
        description=__doc__,
        epilog=EXAMPLES,
    )
    parser.add_argument("dataset", type=Path, help="folder of the prepared dataset (data/<split>-*.parquet)")
    parser.add_argument("--teacher", required=True, help="image-text dual encoder: a Hub id or a local folder")
    parser.add_argument("--revision", help="branch, tag or commit of the teacher on the Hub")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder to write; by default DATASET-<the teacher's short name>"
    )
    parser.add_argument(
        "--templates",
        choices=TEMPLATES,
        default="none",
        help="prompts to average a text's embedding over, but for retrieved texts; OpenShape's embeddings are "
        "averages (default %(default)s)",
    )
    parser.add_argument(
        "--class-texts",
        action="store_true",
        help="also make class_texts.parquet, of the categories of all splits, for zero-shot scores; a dataset's own "
        "class_texts.parquet is embedded without being told",
    )
    parser.add_argument(
        "--class-templates",
        choices=TEMPLATES,
        help=f"prompts for the names of classes, in class_texts.parquet (default {CLASS_TEMPLATES})",
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="images, or texts, at a time (default %(default)s)"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="precision that the teacher runs in (default %(default)s)"
    )
    parser.add_argument(
        "--device",
        type=_device,
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where it runs; of several processes each takes the GPU of its number (default %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what --output already has instead of resuming it"
    )
    parser.add_argument(
        "--num-shards",
        type=int,
        default=1,
        metavar="N",
        help="share the files among N runs of this command, all with the same --output (default %(default)s)",
    )
    parser.add_argument(
        "--shard-index",
        type=int,
        default=0,
        metavar="I",
        help="which of the N runs this is, from 0 (default %(default)s)",
    )
    arguments = parser.parse_args(argv)
    if arguments.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, not {arguments.batch_size}")
    if not 0 <= arguments.shard_index < arguments.num_shards:
        parser.error(f"--shard-index must be from 0 to below --num-shards, not {arguments.shard_index}")
    return arguments


def _device(text: str) -> torch.device:
    """For argparse, which names the option in front of the message."""
    try:
        return torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no device ({str(error).splitlines()[0]})") from None


def default_output(folder: Path, teacher: str) -> Path:
    """The folder beside the dataset that is called after it and the teacher."""
    # Not `resolve`: a link's own name says more than that of its target, which may be a commit in the Hub's cache.
    short_name = Path(os.path.abspath(teacher)).name if Path(teacher).is_dir() else teacher.rstrip("/").split("/")[-1]
    place = folder.resolve() if folder.name in ("", "..") else folder
    return place.with_name(f"{folder.resolve().name}-{short_name}")


def print_summary(out: Path, report: dict, teacher: Teacher, throughput: str) -> None:
    counts = ", ".join(f"{split} {rows}" for split, rows in report["rows"].items())
    lines = [
        f"{out}: {counts or 'nothing yet'}; embeddings of width {teacher.embedding_dim} by {teacher.identifier}",
        f"  this run: {throughput}",
    ]
    class_texts = out / CLASS_TEXTS_FILE
    if class_texts.is_file():
        lines.append(f"  class texts: {pq.read_metadata(class_texts).num_rows} classes in {class_texts}")
    if report["missing"]:
        missing = report["missing"]
        lines.append(f"  unfinished: files that other runs have to make: {len(missing)}, the first {missing[0]}")
    lines += [f"  left out: {item['id']}: {item['why']}" for item in report["left_out"][:LISTED]]
    if len(report["left_out"]) > LISTED:
        lines.append(f"  left out: {len(report['left_out']) - LISTED} more in {out}/report.json")
    print("\n".join(lines), flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    # Set by accelerate launch and torchrun. Processes share files and nothing else, so they need no process group,
    # and a slow one does not run into another's time limit.
    rank, world_size, local_rank = (
        int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    folder: Path = arguments.dataset
    out = arguments.output or default_output(folder, arguments.teacher)
    # Before the teacher's download.
    check_revision(arguments.teacher, arguments.revision, "a teacher")
    check_folders(folder, out, arguments.overwrite)
    class_names = categories_of(folder) if arguments.class_texts else None
    if arguments.class_templates is not None and class_names is None and not (folder / CLASS_TEXTS_FILE).is_file():
        raise UserError(
            f"{folder}: has no {CLASS_TEXTS_FILE}, so --class-templates has nothing to embed; add --class-texts, or "
            "leave it out."
        )
    device: torch.device = arguments.device
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank)
    if device.type == "cpu" and world_size > 1:
        set_cpu_threads(None)
    teacher = Teacher.from_pretrained(
        arguments.teacher, revision=arguments.revision, device=device, dtype=DTYPES[arguments.dtype]
    )
    with exit_on_sigterm():
        report, throughput = embed_dataset_folder(
            folder,
            out,
            teacher,
            TEMPLATES[arguments.class_templates or CLASS_TEMPLATES],
            text_templates=TEMPLATES[arguments.templates],
            batch_size=arguments.batch_size,
            overwrite=arguments.overwrite,
            num_shards=arguments.num_shards * world_size,
            shard_index=arguments.shard_index * world_size + rank,
            class_names=class_names,
        )
    print_summary(out, report, teacher, str(throughput))


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
