"""Write an encoder as ONNX files, which run without torch: in C++, Rust, JavaScript, a browser, on a phone.

  encoder.onnx   from points to embeddings, sampling and grouping included
  sampling.onnx  from points to groups, and network.onnx from groups to embeddings: its two halves
  encoder.json   what a program has to know of input, sampling, output and labels

Batch and number of points are dynamic. All is compared with the encoder before the folder is written.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ..encoder import load_encoder
from ..errors import UserError
from ..files.atomic_file import check_vacant
from ..files.atomic_folder import check_replaceable, check_writable
from .arguments import CommandParser, check_revision


EXAMPLES = """\
examples:
  mrd-hf export outputs/demo/encoder --to outputs/demo/onnx
  mrd-hf export outputs/demo/encoder --to outputs/demo/onnx --class-texts scripts/demo_data/class_texts.parquet
  mrd-hf export models/openshape --to models/openshape-int8 --dtype int8
"""
# The first has all that the graphs use; what is later, runtimes may not know yet.
OPSETS = range(18, 24)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(prog="mrd-hf export", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="the encoder: a folder or a Hub id")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write; also --to")
    parser.add_argument("--revision", help="branch, tag or commit of the encoder on the Hub")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="what the transformer's blocks compute in; all else stays in float32 (default: float32)",
    )
    parser.add_argument(
        "--opset",
        type=int,
        choices=OPSETS,
        default=OPSETS[0],
        metavar="N",
        help=f"version of ONNX's operators, {OPSETS[0]} to {OPSETS[-1]} (default: {OPSETS[0]})",
    )
    parser.add_argument(
        "--class-texts", type=Path, metavar="FILE", help="labels with their embeddings, to lie beside the encoder"
    )
    parser.add_argument(
        "--program", action="store_true", help="write encoder.pt2 as well, a program of torch.export, in float32"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what --output already is")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    try:
        from ..exporting.description import DESCRIPTION_FILE, ENCODER_FILE
        from ..exporting.writing import export_encoder
    except ImportError as error:
        raise UserError(f"mrd-hf export needs what `pip install 'mrd-hf[onnx]'` brings ({error}).") from None
    check_revision(arguments.model, arguments.revision, "an encoder")
    read = (arguments.model, arguments.class_texts)
    check_replaceable(arguments.output, (DESCRIPTION_FILE, ENCODER_FILE), "exported encoder", read)
    check_vacant(arguments.output, arguments.overwrite)
    check_writable(arguments.output.parent)
    encoder = load_encoder(arguments.model, arguments.revision, dtype=torch.float32)
    written = export_encoder(
        encoder, arguments.output, arguments.dtype, arguments.opset, arguments.program, arguments.class_texts
    )
    for name, size in written.sizes.items():
        print(f"{size:>13,}  {arguments.output / name}")
    print(
        f"on clouds of other sizes: the same points are sampled, and embeddings differ from torch's in float32 by "
        f"{written.agreement.relative_error:.1e} of their length (cosine distance "
        f"{written.agreement.cosine_distance:.1e})"
    )


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
