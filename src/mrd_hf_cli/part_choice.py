"""The options about parts: which parts of meshes are read, and what says the parts of objects."""

import argparse
import re


def add_part_choice(parser: argparse._ActionsContainer) -> None:
    """Add what says which parts of meshes are read."""
    parser.add_argument(
        "--keep-collision", action="store_true", help="read collision meshes too, known by names such as UCX_chair"
    )
    parser.add_argument(
        "--skip-parts",
        type=_pattern,
        metavar="REGEX",
        help="leave out the parts of meshes with a match in their own name, their object's, mesh's or node's",
    )


def add_part_model(parser: argparse._ActionsContainer) -> None:
    """Add what says which part of its object each point belongs to."""
    parser.add_argument(
        "--part-model",
        metavar="MODEL",
        help="draw points in the colours of their parts, which a network of `mrd-hf finetune` says: a folder or a Hub "
        "id",
    )
    parser.add_argument("--object-class", metavar="NAME", help="with --part-model: what the shape is, where known")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
    return text
