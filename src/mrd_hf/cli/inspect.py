"""`mrd-hf inspect`: what is read of shape files, for a person or for a bug report.

No model is needed for that, and so neither torch nor transformers is imported: see `LIGHT_COMMANDS` of `mrd_hf_cli`.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from .output import one_line, print_json, printable, progress
from .shape_facts import facts_of_file, versions
from .shape_files import find_shapes


WIDTH = 100
LABEL_WIDTH = 14
MIN_NAME_WIDTH = 12


def run(options: argparse.Namespace) -> int:
    """Show what is read of files, one after the other; returns the exit code."""
    files = find_shapes(options.files)
    facts = [
        facts_of_file(file, options.keep_collision, options.skip_parts) for file in progress(files, "Reading shapes")
    ]
    num_failed = sum("error" in each for each in facts)
    if options.json:
        print_json({"versions": versions(), "files": facts})
    else:
        print("\n".join(_details(facts[0], options.parts) if len(facts) == 1 else _table(facts, options.parts)))
        print(_wrapped(", ".join(f"{name} {found or '-'}" for name, found in versions().items())))
    if num_failed:
        print(f"{num_failed} of {len(files)} files failed.", file=sys.stderr)
    return 1 if num_failed else 0


def _details(facts: dict[str, Any], with_parts: bool) -> list[str]:
    """All that is known of one file, a line or more each."""
    lines = [printable(facts["file"])]

    def add(label: str, text: str) -> None:
        lines.extend(_wrapped(f"  {label:<{LABEL_WIDTH}}{text}", 2 + LABEL_WIDTH).splitlines())

    if "bytes" in facts:
        found = [facts["format"], facts["format_version"], facts["encoding"]]
        add("format", " ".join(printable(word) for word in found if word is not None))
        if facts["generator"] is not None:
            add("written by", one_line(facts["generator"]))
        add("size", f"{facts['bytes']:,} bytes")
    if "error" not in facts:
        is_mesh = facts["kind"] == "mesh"
        add("kind", facts["kind"])
        if is_mesh:
            add("parts", f"{facts['num_parts']:,}")
            add("faces", f"{facts['num_faces']:,}")
            add("area", f"{facts['area']:.6g}")
        else:
            add("points", f"{facts['num_points']:,}")
        add("from", _numbers(facts["bounding_box"][0]))
        add("to", _numbers(facts["bounding_box"][1]))
        add("extents", _numbers(facts["extents"]))
        add("up axis", facts["up_axis"] + (", assumed" if facts["up_axis_is_assumed"] else ", by the file's format"))
        shares = facts["color_sources"].items()
        shown = ", ".join(f"{source} {share:.0%}" if len(shares) > 1 else source for source, share in shares)
        add("colour from", shown + (" (of the area)" if is_mesh and len(shares) > 1 else ""))
        unsaid = " (the encoder's grey)" if list(facts["color_sources"]) == ["none"] else ""
        add("mean colour", " ".join(map(str, facts["mean_color"])) + unsaid)
    if facts.get("extensions"):
        add("extensions", one_line(", ".join(facts["extensions"])))
    for warning in facts.get("warnings", []):
        add("warning", warning)
    if "error" in facts:
        add("error", _error(facts))
    return [*lines, *(_parts_table(facts) if with_parts else [])]


def _table(facts: Sequence[dict[str, Any]], with_parts: bool) -> list[str]:
    """A line a file, and below it its warnings or its error."""
    titles = ["file", "format", "parts", "content", "area", "extents", "colour from"]
    rows = [titles, *(_row(each) for each in facts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    rest = sum(widths[1:]) + 2 * (len(titles) - 1)
    widths[0] = min(widths[0], max(WIDTH - rest, MIN_NAME_WIDTH))
    lines = []
    for row, each in zip(rows, [{}, *facts], strict=True):
        cells = [_shortened(row[0], widths[0]), *row[1:]]
        lines.append("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())
        lines += [_wrapped(f"  warning: {warning}", 4) for warning in each.get("warnings", [])]
        if "error" in each:
            lines.append(_wrapped(f"  error: {_error(each)}", 4))
        if with_parts and each:
            lines += _parts_table(each)
    return lines


def _row(facts: dict[str, Any]) -> list[str]:
    row = [printable(facts["file"]), facts.get("format", "")]
    if "error" in facts:
        return [*row, "", "not read", "", "", ""]
    is_mesh = facts["kind"] == "mesh"
    sources = list(facts["color_sources"])
    return [
        *row,
        f"{facts['num_parts']}" if is_mesh else "",
        f"{facts['num_faces']:,} faces" if is_mesh else f"{facts['num_points']:,} points",
        f"{facts['area']:.3g}" if is_mesh else "",
        "x".join(f"{extent:.3g}" for extent in facts["extents"]),
        sources[0] if len(sources) == 1 else "several",
    ]


def _error(facts: dict[str, Any]) -> str:
    """Without the name, which stands above."""
    message: str = facts["error"]
    return message.removeprefix(f"{one_line(facts['file'])}: ")


def _parts_table(facts: dict[str, Any]) -> list[str]:
    rows = [["part", "faces", "area", "colour from", "texture", "wrap"]]
    for number, part in enumerate(facts.get("parts", [])):
        size, wrap = part["texture_size"], part["wrap"]
        rows.append(
            [
                one_line(part["name"]) or f"({number})",
                f"{part['num_faces']:,}",
                f"{part['area']:.3g}",
                part["color_source"] or "none",
                "" if size is None else f"{size[0]}x{size[1]}",
                "" if wrap is None else wrap[0] if wrap[0] == wrap[1] else "/".join(wrap),
            ]
        )
    if len(rows) == 1:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = min(widths[0], WIDTH - 4 - sum(widths[1:]) - 2 * (len(widths) - 1))
    return [
        "    "
        + "  ".join(f"{_shortened(cell, width):<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _numbers(values: Sequence[float]) -> str:
    return "  ".join(f"{value:.6g}" for value in values)


def _shortened(name: str, width: int) -> str:
    """A name whose beginning is left out where it is too long; its end tells files apart."""
    return name if len(name) <= width else f"...{name[len(name) - width + 3 :]}"


def _wrapped(text: str, indent: int = 0) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False, replace_whitespace=False)
