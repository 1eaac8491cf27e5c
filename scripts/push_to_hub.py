"""Upload a checkpoint's folder, or a dataset's, to the Hub.

    python scripts/push_to_hub.py outputs/demo/encoder org/mrd-pointbert --private
    python scripts/push_to_hub.py datasets/furniture org/furniture --type dataset

Only what a checkpoint (or a dataset) consists of is uploaded; the rest is listed. After an upload that broke off, give
the same command again: what has arrived is not uploaded once more.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from mrd_hf.endpoint.writing import write_handler
from mrd_hf.errors import run_script
from mrd_hf.hub import push_folder
from mrd_hf.hub_files import select_files


def parse_arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="as save_pretrained, pretraining or conversion wrote it")
    parser.add_argument("repo_id", help="repository on the Hub, such as org/mrd-pointbert; made if it is not there")
    parser.add_argument("--type", choices=["model", "dataset"], default="model", help="default: model")
    parser.add_argument("--private", action="store_true", help="the repository is to be private; default: public")
    parser.add_argument("--revision", help="branch, made if it is not there, or refs/pr/N; default: main")
    parser.add_argument("--create_pr", action="store_true", help="open a pull request instead")
    parser.add_argument("--message", help="the commit's message")
    parser.add_argument(
        "--handler", action="store_true", help="first write handler.py for Inference Endpoints into the folder"
    )
    parser.add_argument("--dry_run", action="store_true", help="only say what would be uploaded, and what left out")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.handler:
        write_handler(arguments.folder)
    if arguments.dry_run:
        selection = select_files(arguments.folder, arguments.type)
        for path in selection.files:
            print(path)
        for path, reason in selection.left_out.items():
            print(f"  left out: {path} ({reason})")
        return
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
    run_script(main)
