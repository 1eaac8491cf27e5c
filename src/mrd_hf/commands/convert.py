"""Convert a checkpoint of OpenShape, MixCon3D, TAMM, ULIP, ULIP-2 or Uni3D into a folder that AutoModel and
AutoFeatureExtractor load.

Whose it is, and its size, is read off the tensors' names and shapes. Nothing in the file is executed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..conversion.converting import convert_checkpoint, facts_table
from .arguments import CommandParser


EXAMPLES = """\
examples:
  mrd-hf convert OpenShape/openshape-pointbert-vitg14-rgb --output models/openshape
  mrd-hf convert BAAI/Uni3D --filename modelzoo/uni3d-b/model.pt --output models/uni3d-base
  mrd-hf convert downloads/mixcon3d.pt --output models/mixcon3d
  mrd-hf convert my_openshape_run/latest.pt --preset openshape-3 --output models/mine
"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="mrd-hf convert",
        description=__doc__,
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a checkpoint (.pt .pth .bin .ckpt .safetensors), a folder with one in it, or a repository on the Hub, "
        "also as ORG/NAME@REVISION",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write the model to")
    parser.add_argument("--filename", metavar="NAME", help="which file of the folder or repository, if it has several")
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="the preset of PointBertConfig whose patches the model has, if its sizes fit several or none",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model that --output already has")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    conversion = convert_checkpoint(
        arguments.source,
        arguments.output,
        filename=arguments.filename,
        preset=arguments.preset,
        overwrite=arguments.overwrite,
    )
    print(facts_table({**conversion.facts(), "folder": str(arguments.output)}))


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
