#!/usr/bin/env python
"""Turn 3D collections into a dataset of shape-image-text triplets, ready for scripts/embed_teacher.py.

The result is a folder that `datasets.load_dataset` reads, with a `report.json` that lists what was skipped and why.
One command a source; `%(prog)s SOURCE --help` shows its options.
"""

import argparse
import os

from mrd_hf.data.sweethome3d import prepare_sweethome3d
from mrd_hf.errors import run_script


EXAMPLES = """\
example:
  python scripts/prepare_dataset.py sweethome3d libraries/*.sh3f --out datasets/furniture
"""
LISTED = 10


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")

    sweethome3d = sources.add_parser(
        "sweethome3d",
        help="furniture libraries of Sweet Home 3D (.sh3f)",
        description="Read furniture libraries of Sweet Home 3D: models, icons, names and tags.",
    )
    sweethome3d.add_argument("files", nargs="+", metavar="FILE", help="furniture libraries (.sh3f)")
    _add_common_arguments(sweethome3d)
    return parser.parse_args()


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write the dataset to")
    parser.add_argument(
        "--num_points", type=_positive, default=10_000, metavar="N", help="points a shape (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="seed of the sampling (default %(default)s)"
    )
    parser.add_argument(
        "--num_workers",
        type=_positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes; the result does not depend on it (default: one a core)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset that --out already has")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text}")
    return number


def print_summary(report: dict, out: str) -> None:
    print(f"{out}: {report['prepared']} shapes prepared, {len(report['skipped'])} skipped")
    for kind in ("skipped", "warnings"):
        for item in report[kind][:LISTED]:
            print(f"  {kind}: {item['id']}: {item['why']}")
        if len(report[kind]) > LISTED:
            print(f"  {kind}: {len(report[kind]) - LISTED} more in {out}/report.json")


def main() -> None:
    arguments = parse_arguments()
    report = prepare_sweethome3d(
        arguments.files,
        arguments.out,
        num_points=arguments.num_points,
        seed=arguments.seed,
        num_workers=arguments.num_workers,
        overwrite=arguments.overwrite,
    )
    print_summary(report, arguments.out)


if __name__ == "__main__":
    run_script(main)
