"""What a command says of the dataset that it has prepared, beside the dataset's report."""

from collections.abc import Iterator
from typing import Any

from .meshes.mesh_jobs import UNNAMED


LISTED = 10
# Of so few, the held-out ones may be all of a category.
FEW_NAMES = 10


def summary_of(report: dict[str, Any], out: str) -> Iterator[str]:
    """The lines that say what became of the shapes, and what there is to do.

    Args:
        report (`dict`): Of a dataset that was prepared.
        out (`str`): Its folder.
    """
    partly = len({item["id"] for item in report["warnings"]})
    told = f", {partly} with warnings" if partly else ""
    yield f"{out}: {report['prepared']} shapes prepared, {len(report['skipped'])} skipped{told}"
    if list(report["splits"]) != ["train"]:
        yield "  splits: " + ", ".join(f"{split} {prepared} shapes" for split, prepared in report["splits"].items())
    if "names" in report and report["settings"]["source"] == "meshes":
        held_out, count = report["names"]["test"], sum(report["names"].values())
        yield f"  held out in test: {held_out} of {count} names, by --test-share {report['settings']['test_share']}"
        if count < FEW_NAMES:
            yield (
                f"  only {count} names; files that differ in a number alone share one (as chair_01 and chair_02 do), "
                "unless the metadata's column 'name' tells them apart"
            )
    if "one_text" in report:
        yield (
            f"  warning: all shapes have the same text, '{report['one_text']}', from the names of their files or "
            "folders, so training cannot tell them apart by it; give them names or captions in metadata.csv "
            "(mrd-hf prepare meshes --help) and prepare again with --overwrite"
        )
    missing = report["missing"]
    if missing:
        yield f"  unfinished: files that other runs have to make: {len(missing)}, the first of them {missing[0]}"
    outdated = list(report.get("outdated", {}).items())
    for file, changed in outdated[:LISTED]:
        yield f"  kept: {file}, though {changed} was changed since; delete the file and run again, or use --overwrite"
    if len(outdated) > LISTED:
        yield f"  kept: {len(outdated) - LISTED} more such files"
    where = "reports" if missing else "report.json"
    for kind in ("skipped", "warnings"):
        for item in sorted(report[kind], key=lambda item: item["why"] == UNNAMED)[:LISTED]:
            yield f"  {kind}: {item['id']}: {item['why']}"
        if len(report[kind]) > LISTED:
            yield f"  {kind}: {len(report[kind]) - LISTED} more in {out}/{where}"
    kept = sum(item["why"] != UNNAMED for item in report.get("kept_skipped", ()))
    if kept:
        yield (
            f"  skipped by an earlier run, and not tried again: {kept}, as their files are finished; where the reason "
            "is mended (a package installed, a file downloaded), --overwrite tries all shapes again"
        )
