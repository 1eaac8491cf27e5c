"""Upload a checkpoint's folder, or a dataset's, to the Hub.

    mrd-hf push outputs/demo/encoder org/mrd-pointbert --private
    mrd-hf push datasets/furniture org/furniture --type dataset

Only what a checkpoint (or a dataset) consists of is uploaded; the rest is listed. After an upload that broke off, give
the same command again: what has arrived is not uploaded once more.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ..hub.endpoint.writing import handler_files, write_handler
from ..hub.file_selection import select_files
from ..hub.pushing import check_target, push_folder
from .arguments import CommandParser


def parse_arguments(argv: Sequence[str] | None) -> Namespace:
    parser = CommandParser(prog="mrd-hf push", description=__doc__)
    parser.add_argument("folder", type=Path, help="as save_pretrained, pretraining or conversion wrote it")
    parser.add_argument("repo_id", help="repository on the Hub, such as org/mrd-pointbert; made if it is not there")
    parser.add_argument("--type", choices=["model", "dataset"], default="model", help="default: model")
    parser.add_argument("--private", action="store_true", help="the repository is to be private; default: public")
    parser.add_argument("--revision", help="branch, made if it is not there, or refs/pr/N; default: main")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead")
    parser.add_argument("--message", help="the commit's message")
    parser.add_argument(
        "--handler", action="store_true", help="first write handler.py for Inference Endpoints into the folder"
    )
    parser.add_argument("--overwrite", action="store_true", help="let --handler replace files of other versions")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write and upload nothing; only say what would be uploaded where, and what left out",
    )
    return parser.parse_args(argv)


def print_plan(arguments: Namespace) -> None:
    """Say what an upload would be, without the Hub and without a change to the folder."""
    folder: Path = arguments.folder
    check_target(arguments.repo_id, arguments.revision, arguments.create_pr)
    selection = select_files(folder, arguments.type)
    files = {path: folder / path for path in selection.files}
    if arguments.handler:
        files |= handler_files(folder, arguments.overwrite)
    where = "a pull request to main" if arguments.create_pr else f"branch {arguments.revision or 'main'}"
    access = "private" if arguments.private else "public if it is yet to be made"
    print(f"would upload to the {arguments.type} repository {arguments.repo_id}, {where}, {access}:")
    sizes = {path: file.stat().st_size for path, file in sorted(files.items())}
    for path, size in sizes.items():
        print(f"{readable_size(size):>9}  {path}")
    print(f"{readable_size(sum(sizes.values())):>9}  in {len(sizes)} files")
    for path, reason in selection.left_out.items():
        print(f"  left out: {path} ({reason})")


def readable_size(size: int) -> str:
    """A number of bytes in thousands, as the Hub shows it."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} B"


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    if arguments.dry_run:
        print_plan(arguments)
        return
    if arguments.handler:
        write_handler(arguments.folder, arguments.overwrite)
    push = push_folder(
        arguments.folder,
        arguments.repo_id,
        private=arguments.private,
        repo_type=arguments.type,
        revision=arguments.revision,
        create_pr=arguments.create_pr,
        message=arguments.message,
    )
    print(push.summary())


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
