"""What `mrd-hf` understands. Imports nothing of `mrd_hf`, so that `--help` need not wait for torch.

Long commands, such as `mrd-hf pretrain`, have parsers of their own.
"""

import argparse
import itertools
from collections.abc import Sequence
from typing import Any

from .descriptions import CLASSIFY, EMBED, INDEX, INSPECT, RENDER, SCORE, SEARCH
from .encoder_choice import names_onnx
from .hints import did_you_mean
from .part_choice import add_part_choice, add_part_model


DESCRIPTION = """\
Classify, embed, search and draw 3D shapes: .ply .glb .gltf .obj .off .stl .dae .3mf .usd .usda .usdc .usdz .npy .npz
.pcd .xyz .las .laz, or a .zip of one.
Train encoders for them, evaluate and publish them.

  mrd-hf classify chair.glb --labels "chair,table,lamp"
  mrd-hf embed models/ -o models.parquet
  mrd-hf score chair.glb --text "a red armchair"
  mrd-hf index models/ -o models-index
  mrd-hf search models-index "a red armchair"
  mrd-hf render chair.glb -o chair.png --views 4
  mrd-hf inspect chair.glb
"""
EPILOG = """\
The encoder of classify, score, embed, index, search and app is --model or the environment variable MRD_MODEL: a
folder, or an id on the Hub. The other commands must be told theirs.
Exit codes: 0 all is well, 1 some files or the run failed, 2 wrong input, 130 interrupted, 143 ended by SIGTERM.
`mrd-hf COMMAND --help` says more of each.
"""
# By what they are for, each with a line about it.
COMMANDS = {
    "use": {
        "classify": "say what shapes are, among labels of your own",
        "score": "say how well shapes fit texts or pictures, such as their prompts",
        "embed": "embed shapes into a parquet file",
        "index": "make an index to search",
        "search": "find shapes by a text, a picture or a shape",
        "render": "draw a mesh or a point cloud",
        "inspect": "show what is read of shapes: geometry, colours, warnings",
        "app": "classify and search in a browser",
        "convert": "make an encoder's folder of a checkpoint of OpenShape, MixCon3D, TAMM, ULIP or Uni3D",
    },
    "train": {
        "prepare": "make a dataset of shapes, images and texts",
        "embed-teacher": "embed its images and texts by the teacher",
        "pretrain": "train an encoder on it",
        "evaluate": "score an encoder, or compare two evaluations",
        "finetune": "train it further on labels: classes of shapes, or parts of objects",
        "ablate": "compare ways to train over splits and seeds",
        "analyze": "show what training did to relations, classes and spectrum of embeddings",
        "analyze-gradients": "show whether the loss's terms agree over a training run",
    },
    "publish": {
        "export": "write an encoder as ONNX files, which run without torch",
        "push": "upload an encoder's folder, or a dataset's, to the Hub",
    },
}
# Of options that had other names, or have them in other commands; they are understood.
EARLIER_NAMES = {"--class-embeds": "--class-texts", "--out": "--output", "--templates": "--template"}
# They read, draw, prepare or upload what there is; `render --part-model` alone needs a model.
LIGHT_COMMANDS = ("inspect", "prepare", "push", "render")
# Those whose `main(argv)` has a parser of its own, made of what only it imports.
LONG_COMMANDS = {
    "ablate": "mrd_hf.commands.ablate",
    "analyze": "mrd_hf.commands.analyze",
    "analyze-gradients": "mrd_hf.commands.analyze_gradients",
    "app": "mrd_hf.app.server",
    "convert": "mrd_hf.commands.convert",
    "embed-teacher": "mrd_hf.commands.embed_teacher",
    "evaluate": "mrd_hf.commands.evaluate",
    "export": "mrd_hf.commands.export",
    "finetune": "mrd_hf.commands.finetune",
    "prepare": "mrd_hf.commands.prepare",
    "pretrain": "mrd_hf.commands.pretrain",
    "push": "mrd_hf.commands.push",
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line, whose options and other arguments may come in any order; exits on `--help` and mistakes.

    Args:
        arguments (sequence of `str`): Without the program's name. Options may have underscores for hyphens.

    Returns:
        `argparse.Namespace`: The options, and in `command` the sub-command's name.
    """
    parser, commands = make_parser()
    command = commands.get(arguments[0]) if arguments else None
    if command is None:
        known = [name for group in COMMANDS.values() for name in group]
        if arguments and not arguments[0].startswith("-") and arguments[0] not in known:
            hint = did_you_mean(arguments[0], known)
            parser.error(f"no command is called {arguments[0]!r}{hint or ';'} mrd-hf --help lists them")
        return parser.parse_args(arguments)
    options = command.parse_args(_options_first(arguments[1:], command))
    options.command = arguments[0]
    no_labels = options.command == "classify" and options.labels is options.labels_file is options.class_texts is None
    if no_labels and not names_onnx(options):
        command.error("one of the arguments --labels --labels-file --class-texts is required")
    if options.command == "search" and options.text_option is not None:
        if options.text is not None:
            command.error("TEXT is given twice, once as --text")
        options.text = options.text_option
    return options


def _options_first(arguments: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """The arguments with all options, spelled as the parser has them, before the others.

    argparse itself gives up on `INDEX -k 5 TEXT`, as it takes INDEX and a TEXT that is not there at once; its remedy,
    `parse_intermixed_args`, loses a `--`. Exits on an option that there is not.
    """
    actions = {name: action for action in parser._actions for name in action.option_strings}
    options: list[str] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            others += words
        elif not word.startswith("-") or word == "-":
            others.append(word)
        elif not word.startswith("--") and word[:2] in actions and word != word[:2]:
            options.append(word)  # -k5
        else:
            name, equals, value = word.partition("=")
            spelled = name.replace("_", "-")  # --batch_size=3 is --batch-size=3
            spelled = spelled if spelled in actions else EARLIER_NAMES.get(spelled, spelled)
            if spelled not in actions:
                parser.error(f"unrecognized argument: {word}{did_you_mean(spelled, actions)}")
            options.append(f"{spelled}{equals}{value}")
            if not equals and actions[spelled].nargs is None:
                options += itertools.islice(words, 1)
    return [*options, "--", *others] if others else options


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and those of the short commands by their names."""
    parser = argparse.ArgumentParser(
        prog="mrd-hf",
        usage="mrd-hf [-h] [--version] COMMAND ...",
        description=DESCRIPTION,
        epilog=f"{_listed_commands()}\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    # Not shown by argparse, which has no groups of them.
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog="mrd-hf", help=argparse.SUPPRESS
    )
    _add_classify(_command(commands, "classify", CLASSIFY))
    _add_score(_command(commands, "score", SCORE))
    _add_embed(_command(commands, "embed", EMBED))
    _add_index(_command(commands, "index", INDEX))
    _add_search(_command(commands, "search", SEARCH))
    _add_render(_command(commands, "render", RENDER))
    _add_inspect(_command(commands, "inspect", INSPECT))
    short = dict(commands.choices)
    for name in LONG_COMMANDS:  # for the message about a command that there is not
        commands.add_parser(name)
    return parser, short


class _ShowVersion(argparse.Action):
    """argparse's own wants the version when the parser is made, and to look it up takes as long as all the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"mrd-hf {version('mrd-hf')}")
        parser.exit()


def _listed_commands() -> str:
    listed = []
    for purpose, commands in COMMANDS.items():
        listed += [f"{purpose}:", *(f"  {name:<17} {summary}" for name, summary in commands.items()), ""]
    return "\n".join(listed)


def _command(commands, name: str, description: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
    return commands.add_parser(
        name,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="shapes, or folders of them")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--labels", help="labels to choose from, separated by commas")
    labels.add_argument("--labels-file", metavar="FILE", help="text file with a label a line")
    labels.add_argument("--class-texts", metavar="FILE", help="parquet file of labels (label) embedded (text_embed)")
    parser.add_argument(
        "--template",
        action="append",
        dest="templates",
        help="text that a label takes the {} of; several, or a set's name (none, clip, simple, openshape64), are "
        "averaged over (default: 'a point cloud model of {}.')",
    )
    parser.add_argument("--top-k", type=_positive, default=5, metavar="K", help="labels to show (default: 5)")
    parser.add_argument(
        "--scores",
        choices=("probability", "cosine"),
        default="probability",
        help="shares that add up to 1, or cosines, which do not depend on the other labels (default: probability)",
    )
    _add_model(parser)
    _add_teacher(parser)
    _add_batch_size(parser)
    _add_reading(parser)
    _add_json(parser)


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="shapes, folders of them, or one parquet file of `mrd-hf embed`"
    )
    parser.add_argument("--text", action="append", help="what the shapes should be; may be given several times")
    parser.add_argument("--texts-file", metavar="FILE", help="text file with one a line")
    parser.add_argument("--image", action="append", metavar="FILE", help="picture of it; may be given several times")
    parser.add_argument("--class-texts", metavar="FILE", help="parquet file of texts (label) embedded (text_embed)")
    parser.add_argument("--pairs", metavar="FILE", help="CSV file of shapes and their prompts")
    parser.add_argument(
        "--measure",
        choices=("cosine", "scaled"),
        default="cosine",
        help="scaled: times the encoder's scale of cosines, as a CLIP score is (default: cosine)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="file for all scores: .csv, .json or .parquet")
    _add_overwrite(parser)
    _add_model(parser)
    _add_teacher(parser)
    _add_batch_size(parser)
    _add_reading(parser)
    _add_json(parser)


def _add_embed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE_OR_FOLDER", help="shapes, or folders of them")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="parquet file to write")
    _add_overwrite(parser)
    _add_model(parser)
    _add_batch_size(parser)
    _add_reading(parser)
    _add_json(parser)


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="folder of shapes, or parquet file of `mrd-hf embed`")
    parser.add_argument("-o", "--output", metavar="INDEX", help="folder to write (default: SOURCE-index)")
    _add_overwrite(parser)
    parser.add_argument("--dataset", action="store_true", help="SOURCE is a triplet dataset: a folder or a Hub id")
    parser.add_argument("--split", help="split of the dataset (default: all)")
    _add_model(parser)
    _add_batch_size(parser)
    _add_reading(parser)
    _add_json(parser)


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", metavar="INDEX", help="folder that `mrd-hf index` wrote")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="find what these words say")
    parser.add_argument("--image", metavar="FILE", help="find what this picture shows")
    parser.add_argument("--shape", metavar="FILE", help="find shapes like this one")
    # As `mrd-hf score` has it; argparse would let an empty TEXT take the place of an option of the same name.
    parser.add_argument("--text", dest="text_option", metavar="TEXT", help="the same as TEXT")
    parser.add_argument("-k", "--top-k", dest="k", type=_positive, default=10, help="shapes to find (default: 10)")
    _add_model(parser, purpose="for --shape, the encoder that made the index")
    _add_teacher(parser)
    _add_reading(parser)
    _add_json(parser)


def _add_render(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the shape")
    parser.add_argument("-o", "--output", metavar="FILE", help="PNG to write (default: NAME-views.png, here)")
    _add_overwrite(parser)
    parser.add_argument("--views", type=_positive, default=4, metavar="N", help="views around it (default: 4)")
    parser.add_argument("--size", type=_positive, default=384, help="pixels a side of a view (default: 384)")
    add_part_model(parser)
    _add_reading(parser)
    _add_json(parser)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE_OR_FOLDER", help="shapes, or folders of them")
    parser.add_argument("--parts", action="store_true", help="list the parts of each mesh; --json always has them")
    add_part_choice(parser)
    _add_json(parser)


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace what --output already is")


def _add_model(parser: argparse.ArgumentParser, purpose: str = "the encoder") -> None:
    parser.add_argument("--model", help=f"{purpose}: a folder, a Hub id, or an encoder.onnx (default: $MRD_MODEL)")
    parser.add_argument("--revision", help="branch, tag or commit of the encoder on the Hub")
    parser.add_argument("--device", default="cpu", help="where to compute, as torch names it (default: cpu)")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "fastest"],
        help="precision of the encoder (default: as saved); fastest: bfloat16 where the device multiplies it",
    )


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--text-tower",
        "--teacher",
        dest="teacher",
        metavar="MODEL",
        help="what embeds words and pictures: a folder or a Hub id (default: the teacher that the encoder or index "
        "names)",
    )


def _add_batch_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=_positive, default=16, help="shapes to encode at once (default: 16)")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    _add_up_axis(parser)
    add_part_choice(parser)


def _add_up_axis(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--up-axis",
        choices=("y", "z"),
        help="which axis points up in the files (default: what each file declares, otherwise y)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return value
