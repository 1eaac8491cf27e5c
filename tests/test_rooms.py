"""The package's rooms: who may import from whom, no import in a circle, and no file or folder that grows too large.

docs/design.md says what lives in which room.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.paths import ROOT


SOURCE = ROOT / "src"
# From the ground up. A module imports from its own room and from those before it.
ROOMS = (
    ("mrd_hf_cli",),
    ("mrd_hf.errors",),
    ("mrd_hf.files",),
    ("mrd_hf.models",),
    ("mrd_hf.teacher", "mrd_hf.encoder"),
    ("mrd_hf.data",),
    ("mrd_hf.hub",),
    # Side by side: none of these imports from another.
    ("mrd_hf.training", "mrd_hf.evaluation", "mrd_hf.conversion", "mrd_hf.search", "mrd_hf.exporting"),
    ("mrd_hf.commands",),
    ("mrd_hf.cli",),
    ("mrd_hf.app",),
)
MAX_LINES, MAX_MODULES = 400, 14


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(file): file for file in sorted(SOURCE.rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, in functions too."""
    file = FILES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in FILES else base for alias in node.names]
        else:
            continue
        yield from (name for name in names if name in FILES)


@cache
def imports_of_all() -> dict[str, set[str]]:
    return {module: set(imports(module)) - {module} for module in FILES}


def room_of(module: str) -> tuple[int, str]:
    """The floor, and the room on it; the package's own top is above all."""
    for floor, rooms in enumerate(ROOMS):
        for room in rooms:
            if module == room or module.startswith(f"{room}."):
                return floor, room
    return len(ROOMS), "the top"


def test_every_module_has_a_room():
    top = {module for module in FILES if room_of(module)[1] == "the top"}
    assert top == {"mrd_hf", "mrd_hf.__main__"}


def test_no_import_runs_back_up_the_rooms():
    upward = []
    for module, imported in imports_of_all().items():
        floor, room = room_of(module)
        for name in imported - {"mrd_hf"}:
            its_floor, its_room = room_of(name)
            if its_floor > floor or (its_floor == floor and its_room != room):
                upward.append(f"{module} -> {name}")
    assert upward == []


def test_nothing_below_the_commands_imports_the_package_as_a_whole():
    """`import mrd_hf` registers the Auto classes, which is for those who use them by name."""
    importers = {module for module, imported in imports_of_all().items() if "mrd_hf" in imported}
    below = [module for module in importers if room_of(module)[0] < 8]
    assert below == []


def test_no_imports_in_a_circle():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(imports_of_all()[module]):
                visit(name, (*path, module))
            done.add(module)

    for module in FILES:
        visit(module, ())


@pytest.mark.parametrize("top", ["src", "scripts"])
def test_files_have_one_subject_and_folders_few_files(top):
    files = [file for file in (ROOT / top).rglob("*.py") if "outputs" not in file.parts]
    long = {str(file): lines for file in files if (lines := len(file.read_text().splitlines())) > MAX_LINES}
    assert long == {}
    folders = {file.parent for file in files} - {SOURCE / "mrd_hf" / "models"}
    counts = {
        str(folder): len([file for file in folder.glob("*.py") if file.stem != "__init__"]) for folder in folders
    }
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def test_no_test_imports_another():
    """transformers' own tests of models are meant to be."""
    imported = []
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            tests = [name for name in names if name.split(".")[-1].startswith("test_")]
            imported += [f"{file.name}: {name}" for name in tests if not name.startswith("transformers_suite.")]
    assert imported == []
