"""Show how large the gradients of the loss's terms are over a training run, and whether they point the same way."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import UserError
from ..evaluation.gradients.gradient_measures import GradientMeasures
from ..evaluation.gradients.gradient_plots import write_cosine_plot, write_matrix_plot, write_norm_plot
from ..evaluation.gradients.gradient_table import gradient_table, short_names
from ..evaluation.gradients.term_gradients import term_gradients
from ..files.atomic_file import atomic_file, check_vacant
from ..files.atomic_folder import check_writable
from ..training.distributed import set_cpu_threads
from ..training.replay.replayed_batches import open_triplets, replayed_batches
from ..training.replay.run_folder import RunFolder
from .arguments import CommandParser, from_zero, positive


EXAMPLES = """\
example:
  mrd-hf pretrain --config demo --save-steps 50 --save-total-limit 100 --output-dir outputs/mrd
  mrd-hf analyze-gradients outputs/mrd --output outputs/mrd/gradients
  mrd-hf analyze-gradients outputs/mrd outputs/fixed_weights --output outputs/gradients

written to --output:
  report.json   of each run and checkpoint: each term's loss, weight and gradient norm, and cosines between gradients
  norms.png     norms over the steps
  cosines.png   cosines of the intra with the cross terms, and of the alignment with the relations, over the steps
  matrices.png  cosines of all terms with each other at each run's last checkpoint

A run is the --output-dir of mrd-hf pretrain with its checkpoints. Step 0 is the untrained model, rebuilt from the
run's seed. All checkpoints of all runs see the same batches of shapes, augmented as the run augments.
"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(prog="mrd-hf analyze-gradients", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a training run; several: compared"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for report.json and the plots")
    parser.add_argument("--overwrite", action="store_true", help="replace the report that --output already has")
    parser.add_argument("--dataset", help="triplet dataset with cached embeddings (default: each run's own)")
    parser.add_argument("--split", help="split to take batches from (default: the one that the run trained on)")
    parser.add_argument("--batches", type=positive, default=8, metavar="N", help="batches a checkpoint (default: 8)")
    parser.add_argument(
        "--batch-size", type=positive, metavar="N", help="shapes in a batch (default: the run's per-device batch size)"
    )
    parser.add_argument("--seed", type=from_zero, default=0, help="of batches and augmentation (default: 0)")
    parser.add_argument(
        "--cpu-threads",
        type=positive,
        metavar="N",
        help="threads; other numbers give other last digits (default: this process's share of the cores)",
    )
    return parser.parse_args(argv)


def analyze_run(run: RunFolder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Where a run's batches are from, and of each of its models, oldest first, what [`GradientMeasures`] finds."""
    dataset, split = arguments.dataset or run.data.dataset, arguments.split or run.data.train_split
    triplets = open_triplets(run, dataset, split, arguments.seed)
    size = arguments.batch_size or run.training.per_device_batch_size
    found = []
    models = run.models(triplets.embedding_dim, str(triplets.teacher))
    with tqdm(total=len(models) * arguments.batches, desc=str(run.path), unit="batch") as progress:
        for saved in models:
            model = saved.load().train()
            measures = None
            for inputs in replayed_batches(run, triplets, size, arguments.batches, arguments.seed):
                gradients = term_gradients(model, inputs, run.training.encoder_batch_size)
                measures = measures or GradientMeasures(gradients.names)
                measures.add(gradients)
                progress.update()
            assert measures is not None  # there is a batch at least
            found.append({"step": saved.step, **measures.as_dict()})
    facts = {"folder": str(run.path), "dataset": dataset, "split": split, "batch_size": size}
    return {**facts, "checkpoints": found}


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    check_vacant(arguments.output / "report.json", arguments.overwrite)
    check_writable(arguments.output)
    if len(set(arguments.runs)) < len(arguments.runs):
        raise UserError("a run is given twice; give each once.")
    set_cpu_threads(arguments.cpu_threads)
    runs = {name: RunFolder.open(path) for name, path in zip(short_names(arguments.runs), arguments.runs, strict=True)}
    report: dict[str, Any] = {
        "settings": {"batches": arguments.batches, "seed": arguments.seed},
        "runs": {name: analyze_run(run, arguments) for name, run in runs.items()},
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    with atomic_file(arguments.output / "report.json") as file:
        file.write((json.dumps(report, indent=1) + "\n").encode())
    checkpoints = {name: found["checkpoints"] for name, found in report["runs"].items()}
    write_norm_plot(arguments.output / "norms.png", checkpoints)
    write_cosine_plot(arguments.output / "cosines.png", checkpoints)
    write_matrix_plot(arguments.output / "matrices.png", checkpoints)
    print(gradient_table(checkpoints))
    print(f"\nwritten to {arguments.output}: report.json, norms.png, cosines.png, matrices.png")


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
