"""Upload a checkpoint's folder, a dataset's, or the page that runs an exported encoder in the browser, to the Hub.

    mrd-hf push outputs/demo/encoder org/mrd-pointbert --private
    mrd-hf push datasets/furniture org/furniture --type dataset
    mrd-hf push outputs/demo/onnx org/shapes --widget
    mrd-hf push outputs/demo/onnx --widget --output outputs/demo/page

Only what a checkpoint (or a dataset) consists of is uploaded; the rest is listed. After an upload that broke off, give
the same command again: what has arrived is not uploaded once more. Weights, or shards in data/, of an earlier upload
that are no longer in the folder are deleted.
"""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..files.atomic_file import atomic_file, check_vacant
from ..files.atomic_folder import atomic_folder, check_replaceable
from ..hub.endpoint.writing import handler_files, write_handler
from ..hub.file_selection import check_for_secrets, select_files
from ..hub.pushing import check_target, push_folder, push_page
from ..hub.widget.writing import (
    COLLECTION_FILE,
    DESCRIPTION_FILE,
    SETTINGS_FILE,
    Collection,
    link_card,
    read_description,
    write_widget,
)
from .arguments import CommandParser


def parse_arguments(argv: Sequence[str] | None) -> Namespace:
    parser = CommandParser(prog="mrd-hf push", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="as save_pretrained, pretraining or conversion wrote it; of --widget, as export did"
    )
    parser.add_argument(
        "repo_id", nargs="?", help="repository on the Hub, such as org/mrd-pointbert; made if it is not there"
    )
    parser.add_argument(
        "--type",
        choices=["model", "dataset"],
        default="model",
        help="what the folder holds, and the repository is of (default: model)",
    )
    parser.add_argument("--private", action="store_true", help="the repository is to be private; default: public")
    parser.add_argument("--revision", help="branch, made if it is not there, or refs/pr/N; default: main")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead")
    parser.add_argument("--message", help="the commit's message")
    parser.add_argument(
        "--handler", action="store_true", help="first write handler.py for Inference Endpoints into the folder"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="let --handler replace files of other versions, and --output a folder"
    )
    widget = parser.add_argument_group("the page in the browser")
    widget.add_argument(
        "--widget", action="store_true", help="upload the page with the exported encoder in folder, to a static Space"
    )
    widget.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write the page into this folder, and upload nothing"
    )
    widget.add_argument("--collection", type=Path, metavar="INDEX", help="an index that the page is to search")
    widget.add_argument(
        "--card", type=Path, metavar="README.md", help="a model's card, on this machine, that is to link the Space"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write and upload nothing; only say what would be uploaded where, and what left out",
    )
    arguments = parser.parse_args(argv)
    if problem := _contradiction(arguments):
        parser.error(problem)
    return arguments


def _contradiction(arguments: Namespace) -> str | None:
    """What is wrong with the options together."""
    if not arguments.widget and any((arguments.output, arguments.collection, arguments.card)):
        return "--output, --collection and --card are for --widget"
    of_checkpoints = (arguments.handler, arguments.revision, arguments.create_pr, arguments.message)
    if arguments.widget and (any(of_checkpoints) or arguments.type != "model"):
        return "--widget goes to a Space: leave out --type, --handler, --revision, --create-pr and --message"
    if arguments.repo_id is None and arguments.output is None:
        return "the following arguments are required: repo_id" + (" (or --output)" if arguments.widget else "")
    of_uploads = (arguments.repo_id, arguments.private, arguments.card, arguments.dry_run)
    if arguments.output is not None and any(of_uploads):
        return "--output writes a folder and uploads nothing: leave out repo_id, --private, --card and --dry-run"
    if arguments.overwrite and not arguments.handler and arguments.output is None:
        return "--overwrite is for --handler and --output"
    return None


def print_plan(arguments: Namespace) -> None:
    """Say what an upload would be, without the Hub and without a change to the folder."""
    folder: Path = arguments.folder
    check_target(arguments.repo_id, arguments.revision, arguments.create_pr)
    selection = select_files(folder, arguments.type)
    sizes = {path: (folder / path).stat().st_size for path in selection.files}
    if arguments.handler:
        sizes |= {name: len(content) for name, content in handler_files(folder, arguments.overwrite).items()}
    where = "a pull request to main" if arguments.create_pr else f"branch {arguments.revision or 'main'}"
    access = "private" if arguments.private else "public if it is yet to be made"
    print(f"would upload to the {arguments.type} repository {arguments.repo_id}, {where}, {access}:")
    print_sizes(dict(sorted(sizes.items())))
    for path, reason in selection.left_out.items():
        print(f"  left out: {path} ({reason})")
    superseded = "weights" if arguments.type == "model" else "shards in data/"
    print(f"  deleted there: {superseded} of an earlier upload that the folder has no more, if there are any")


def print_sizes(sizes: dict[str, int]) -> None:
    """A line a file, and their sum."""
    for path, size in sizes.items():
        print(f"{readable_size(size):>9}  {path}")
    print(f"{readable_size(sum(sizes.values())):>9}  in {len(sizes)} files")


def readable_size(size: int) -> str:
    """A number of bytes in thousands, as the Hub shows it."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} B"


def push_widget(arguments: Namespace) -> None:
    """Write the page into a folder, or upload it."""
    collection = None if arguments.collection is None else read_collection(arguments.collection, arguments.folder)
    if arguments.output is not None:
        read = (arguments.folder, arguments.collection)
        check_replaceable(arguments.output, ("index.html", SETTINGS_FILE), "page of mrd-hf push --widget", read)
        check_vacant(arguments.output, arguments.overwrite)
        with atomic_folder(arguments.output) as folder:
            files = write_widget(arguments.folder, folder, collection)
        print(f"wrote {arguments.output} ({len(files)} files); see it by python -m http.server -d {arguments.output}")
        return
    check_target(arguments.repo_id)
    if arguments.card is not None and not arguments.card.is_file():
        raise UserError(f"{arguments.card}: no such file; give a model's card, the README.md of its folder.")
    with tempfile.TemporaryDirectory(prefix="mrd-widget-") as name:
        files = write_widget(arguments.folder, Path(name), collection)
        # The page's other texts are the package's own.
        check_for_secrets(arguments.folder / DESCRIPTION_FILE)
        if collection is not None:
            check_for_secrets(Path(name) / COLLECTION_FILE, f"{arguments.collection}, in the name or url of an item")
        if arguments.dry_run:
            print(f"would upload to the static Space {arguments.repo_id}:")
            print_sizes({path: (Path(name) / path).stat().st_size for path in files})
            return
        push = push_page(Path(name), arguments.repo_id, arguments.private)
    print(push.summary())
    if arguments.card is not None:
        text = link_card(arguments.card.read_text(encoding="utf-8"), push.url)
        with atomic_file(arguments.card) as sink:
            sink.write(text.encode())
        print(f"{arguments.card} links it; upload that folder again")


def read_collection(folder: Path, export: Path) -> Collection:
    """The collection in an index, as the page searches it.

    Raises:
        UserError: It is no index, too large for a page, or of another encoder.
    """
    from ..search.shape_index import ShapeIndex

    index = ShapeIndex.open(folder)
    description = read_description(export)
    known = [(index.model_sha256, description["weights_sha256"])]
    known.append((index.config_sha256, description.get("config_sha256")))  # which earlier versions do not write
    known += [(value, description.get("input", {}).get(name)) for name, value in (index.input or {}).items()]
    if any(None not in digests and digests[0] != digests[1] for digests in known):
        raise UserError(
            f"{folder} is an index of another encoder ({index.model}) than {export}; index it by this one."
        )
    embeds, items = index.rows()
    named = [{"name": str(item.get("name") or item["id"]), "url": item.get("url")} for item in items]
    return Collection(embeds, named)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    if arguments.widget:
        push_widget(arguments)
        return
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
