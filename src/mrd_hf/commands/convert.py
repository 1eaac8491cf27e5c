"""Convert a checkpoint of OpenShape, MixCon3D, TAMM, ULIP, ULIP-2 or Uni3D into a folder that AutoModel and
AutoFeatureExtractor load.

Whose it is, and its size, is read off the tensors' names and shapes. Nothing in the file is executed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..conversion.converting import convert_checkpoint, format_table


EXAMPLES = """\
examples:
  python scripts/convert_checkpoint.py OpenShape/openshape-pointbert-vitg14-rgb --to models/openshape
  python scripts/convert_checkpoint.py BAAI/Uni3D --filename modelzoo/uni3d-b/model.pt --to models/uni3d-base
  python scripts/convert_checkpoint.py downloads/mixcon3d.pt --to models/mixcon3d
  python scripts/convert_checkpoint.py my_openshape_run/latest.pt --preset openshape-3 --to models/mine
"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mrd-hf convert",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a checkpoint (.pt .pth .bin .ckpt .safetensors), a folder with one in it, or a repository on the Hub",
    )
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write the model to")
    parser.add_argument("--filename", metavar="NAME", help="which file of the folder or repository, if it has several")
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="the preset of PointBertConfig whose patches the model has, if its sizes fit several or none",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model that --to already has")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    conversion = convert_checkpoint(
        arguments.source,
        arguments.to,
        filename=arguments.filename,
        preset=arguments.preset,
        overwrite=arguments.overwrite,
    )
    print(format_table({**conversion.facts(), "folder": str(arguments.to)}))


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
