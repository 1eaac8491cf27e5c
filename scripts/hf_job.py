# /// script
# requires-python = ">=3.11"
# dependencies = ["mrd-hf[evaluation,formats,render,retrieval]"]
# ///
"""From a folder of meshes to an encoder on the Hub, in one file: prepare, embed, pretrain, evaluate, push.

On Hugging Face's machines, with uv; on any machine that has uv; or where the package is installed:

    hf jobs uv run --flavor a10g-large --timeout 12h --secrets HF_TOKEN -- scripts/hf_job.py \
        --meshes org/my-meshes --metadata captions.csv --repo-id org/my-encoder -- --config demo
    uv run scripts/hf_job.py --meshes my_models --repo-id me/my-encoder --private
    python scripts/hf_job.py --dataset org/my-triplets --repo-id me/my-encoder -- --num-train-steps 20000

Until the package is on PyPI, name the clone in the line `dependencies` above: "mrd-hf[...] @ file:///path/to/clone";
for Hugging Face's machines, which do not have it, "mrd-hf[...] @ git+https://..." or the https address of a wheel.
What follows the last -- goes to `mrd-hf pretrain`, such as --config FILE; `hf` takes the first for itself. Started
again in the same --work-dir, it resumes; on Hugging Face's machines that goes with the job, unless it is in a volume.
"""

import argparse
import gc
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch
from huggingface_hub import snapshot_download

from mrd_hf.data.class_texts import CLASS_TEXTS_FILE
from mrd_hf.data.loaders.triplet_shards import open_file, parquet_files
from mrd_hf.errors import UserError
from mrd_hf.hub.pushing import check_login, check_private, check_target
from mrd_hf_cli.main import main as mrd_hf
from mrd_hf_cli.running import run_script


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shapes = parser.add_mutually_exclusive_group(required=True)
    shapes.add_argument("--meshes", help="folder of shape files, or a dataset repository on the Hub that holds them")
    shapes.add_argument("--dataset", help="prepared dataset with the splits train and test: a folder, or a Hub id")
    parser.add_argument("--metadata", help="table of what the shapes are: a file in --meshes, or else on this machine")
    parser.add_argument("--test-share", default="0.1", help="share of --meshes that is held out (default: 0.1)")
    parser.add_argument(
        "--teacher",
        default="openai/clip-vit-base-patch32",
        help="image-text model that embeds pictures and texts, where the dataset has no embeddings "
        "(default: openai/clip-vit-base-patch32)",
    )
    parser.add_argument("--repo-id", required=True, help="repository to push the encoder to")
    parser.add_argument("--private", action="store_true", help="make it private, if it is yet to be made")
    parser.add_argument("--work-dir", type=Path, default=Path("mrd-job"), help="where all is kept (default: mrd-job)")
    parser.add_argument("--prepare", default="", metavar="WORDS", help="more for mrd-hf prepare meshes, in quotes")
    parser.add_argument("pretrain", nargs="*", metavar="-- WORD", help="more for mrd-hf pretrain")
    return parser.parse_args(argv)


def run(*words: str | Path) -> None:
    """Run one of the commands of `mrd-hf`; one that fails ends the job with its message."""
    command = [str(word) for word in words]
    print("$ mrd-hf", *command, flush=True)
    try:
        mrd_hf(command)
    except SystemExit as ended:
        if ended.code:
            raise


def metadata(name: str | None, folder: Path) -> list[str | Path]:
    """The option that names the table: one in the folder of the shapes, or else one by its own path."""
    if name is None:
        return []
    found = [file for file in (folder / name, Path(name)) if file.is_file()]
    if not found:
        raise UserError(f"--metadata: there is no {folder / name} and no {name}.")
    return ["--metadata", found[0]]


def prepared(arguments: argparse.Namespace) -> str:
    """The dataset: the one that is given, or made of the meshes."""
    if arguments.dataset is not None:
        return arguments.dataset
    folder, out = Path(arguments.meshes), arguments.work_dir / "triplets"
    if not folder.is_dir():
        folder = Path(snapshot_download(arguments.meshes, repo_type="dataset"))
    run(
        "prepare",
        "meshes",
        folder,
        *metadata(arguments.metadata, folder),
        "--test-share",
        arguments.test_share,
        *shlex.split(arguments.prepare),
        "-o",
        out,
    )
    return str(out)


def has_embeddings(dataset: str) -> bool:
    """Whether a dataset has a teacher's embeddings, as its first file says; a card says so of few datasets."""
    with open_file(parquet_files(dataset, "train")[0]) as file:
        return "image_embeds" in pq.read_schema(file).names


def embedded(arguments: argparse.Namespace, dataset: str) -> tuple[str, list[str | Path]]:
    """The dataset with the teacher's embeddings, and the option that names the classes', where there are any."""
    if not has_embeddings(dataset):
        folder, out = Path(dataset), arguments.work_dir / "embedded"
        if not folder.is_dir():
            folder = Path(snapshot_download(dataset, repo_type="dataset"))
        # Those that it names itself are embedded without being told.
        classes = [] if (folder / CLASS_TEXTS_FILE).is_file() else ["--class-texts"]
        run("embed-teacher", folder, "--teacher", arguments.teacher, *classes, "-o", out)
        dataset = str(out)
    texts = Path(dataset) / CLASS_TEXTS_FILE
    return dataset, ["--class-texts", texts] if texts.is_file() else []


def pretrain(words: Sequence[str | Path]) -> None:
    """Train on all GPUs of the machine: by accelerate's launcher, where there are several."""
    if torch.cuda.device_count() < 2:
        run("pretrain", *words)
        return
    from accelerate.commands.launch import launch_command, launch_command_parser

    # What the teacher took of the first GPU in this process, those of the launcher could not have.
    gc.collect()
    torch.cuda.empty_cache()
    launcher = ["--multi_gpu", "--num_processes", str(torch.cuda.device_count()), "-m", "mrd_hf.commands.pretrain"]
    launch_command(launch_command_parser().parse_args([*launcher, *(str(word) for word in words)]))


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse(argv)
    if "/" not in arguments.repo_id:
        raise UserError(f"--repo-id: {arguments.repo_id} names no owner; give OWNER/NAME.")
    # Before the hours that come before the push.
    check_target(arguments.repo_id)
    check_login()
    if arguments.private:
        check_private(arguments.repo_id)
    dataset, texts = embedded(arguments, prepared(arguments))
    output, encoder = arguments.work_dir / "run", arguments.work_dir / "run" / "encoder"
    options = ["--dataset", dataset, "--eval-split", "test", *texts, "--output-dir", output]
    if not encoder.exists():
        # Their own words last, which have the last word.
        pretrain([*options, "--resume-from-checkpoint", "latest", *arguments.pretrain])
    scores = ["--model", encoder, "--dataset", dataset, *texts, "-o", arguments.work_dir / "scores"]
    run("evaluate", *scores, "--write-card")
    run("push", encoder, arguments.repo_id, *(["--private"] if arguments.private else []))


if __name__ == "__main__":
    run_script(lambda: main(sys.argv[1:]))
