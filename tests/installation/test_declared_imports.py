"""Whatever is imported is declared: what works here only because another package brings it along fails elsewhere."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest


ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
APP = SOURCE / "mrd_hf" / "app"
EXPORTING = SOURCE / "mrd_hf" / "exporting"
SPACE = ROOT / "scripts" / "app"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"mrd_hf", "mrd_hf_cli"}
# With what these are for, an import is nobody's surprise.
FOR_DEVELOPERS = {"test", "docs", "dev"}
# What a checkpoint's code needs. Numpy, huggingface_hub and safetensors are transformers' own requirements.
TRAVELLING = {"torch", "transformers", "numpy", "huggingface-hub", "safetensors", "trimesh", "pillow"}
# What readers of shape files do without, or name in a message: concave polygons, and compressed glTF.
OF_READERS = {"dracopy", "laspy", "mapbox-earcut", "meshopt", "opengl-basisu", "pycollada", "usd-core"}
# torch's builds for GPUs bring it along; without it torch samples and groups points.
OF_KERNELS = {"triton"}
# Embeds images by teachers of open_clip's.
OF_TEACHERS = {"open-clip-torch"}
OPTIONAL = OF_READERS | OF_KERNELS | OF_TEACHERS


@cache
def distributions() -> dict[str, list[str]]:
    """By the names of packages; it reads the records of all that is installed, so once."""
    return {"open_clip": ["open_clip_torch"]} | dict(packages_distributions())  # which need not be installed


class Import(NamedTuple):
    """An import statement of another distribution's package."""

    place: str
    distribution: str
    optional: bool  # in a function, or in a `try` that does without it


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(lines: list[str]) -> set[str]:
    """The distributions that requirements name; those of an extra of this package as well."""
    names = set()
    for line in lines:
        name, extras = re.match(r"([A-Za-z0-9._-]+)(?:\[([^]]*)\])?", line).groups()
        if normalized(name) != "mrd-hf":
            names.add(normalized(name))
            continue
        for extra in (extras or "").split(","):
            names |= extra_requirements(extra.strip()) if extra else set()
        names |= required(PROJECT["dependencies"]) | {"mrd-hf"}
    return names


def extra_requirements(extra: str) -> set[str]:
    return required(PROJECT["optional-dependencies"][extra])


def requirements_file(path: Path) -> set[str]:
    return required([line for line in path.read_text().splitlines() if line and not line.startswith("#")])


def is_guard(node: ast.AST) -> bool:
    """Whether a `try` does without what cannot be imported, instead of raising another error."""
    return isinstance(node, ast.Try) and not any(
        isinstance(inner, ast.Raise) for handler in node.handlers for inner in ast.walk(handler)
    )


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [str(node.module)] if isinstance(node, ast.ImportFrom) and node.level == 0 else []


def imports_of(path: Path) -> Iterator[Import]:
    """Those of a file, but for the standard library and this package."""

    def walk(node: ast.AST, optional: bool) -> Iterator[Import]:
        for name in imported_names(node):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in OWN:
                # Where it is not installed here, its distribution most likely has its name.
                for distribution in distributions().get(top, [top]):
                    place = f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
                    yield Import(place, normalized(distribution), optional)
        inner_optional = optional or is_guard(node) or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner_optional)

    yield from walk(ast.parse(path.read_text()), False)


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found
    return found


def undeclared(paths: list[Path], declared: set[str], declared_optional: set[str] = frozenset()) -> list[str]:
    return [
        found.place
        for path in paths
        for found in imports_of(path)
        if found.distribution not in declared | (declared_optional if found.optional else set())
    ]


EXTRAS = set().union(
    *(extra_requirements(extra) for extra in PROJECT["optional-dependencies"] if extra not in FOR_DEVELOPERS)
)


def test_the_package_imports_what_it_requires_and_the_extras_where_they_are_used():
    rooms = {APP: "app", EXPORTING: "onnx"}  # of which no file works without the extra
    everywhere = [path for path in files(SOURCE) if not any(path.is_relative_to(room) for room in rooms)]
    assert undeclared(everywhere, required(PROJECT["dependencies"]), EXTRAS | OPTIONAL) == []
    for room, extra in rooms.items():
        assert undeclared(files(room), required(PROJECT["dependencies"]) | extra_requirements(extra)) == []


def test_code_that_travels_with_checkpoints_imports_what_torch_transformers_trimesh_and_pillow_bring():
    assert undeclared(files(SOURCE / "mrd_hf" / "models"), TRAVELLING, OPTIONAL) == []


def test_what_travels_without_trimesh_and_pillow_guards_them_so_that_transformers_does_not_ask():
    """Transformers refuses a folder if what its files import at their top, outside of a `try`, is not installed."""
    for path in files(SOURCE / "mrd_hf" / "models"):
        top = {name for node in ast.parse(path.read_text()).body for name in imported_names(node)}
        assert not {name.partition(".")[0] for name in top} & {"trimesh", "PIL"}, path


def test_the_endpoint_handler_imports_what_its_requirements_name():
    folder = SOURCE / "mrd_hf" / "hub" / "endpoint"
    declared = requirements_file(folder / "requirements.txt")
    handler = [path for path in files(folder) if path.name in ("handler.py", "isolation.py", "shape_reading.py")]
    assert len(handler) == 3
    assert undeclared(handler + files(SOURCE / "mrd_hf" / "models"), declared, OPTIONAL) == []


def test_the_space_imports_what_its_requirements_name():
    # Gradio itself is the Space's `sdk`.
    assert undeclared(files(APP) + files(SPACE), requirements_file(SPACE / "requirements.txt") | {"gradio"}) == []


def test_the_scripts_import_what_the_package_or_an_extra_requires():
    scripts = files(ROOT / "scripts")
    folders = [ROOT / "scripts" / name for name in ("benchmarks", "evidence", "torture")]
    siblings = [path for folder in folders for path in folder.iterdir() if path.suffix in (".py", "")]
    # They import one another and, to be tortured by, the stand-in for the Hub that the tests have.
    beside = {normalized(path.stem) for path in siblings} | {"support"}
    declared = required(PROJECT["dependencies"]) | EXTRAS | extra_requirements("test") | beside
    assert undeclared(scripts, declared) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import httpx", [("httpx", False)]),
        ("from httpx.x import y", [("httpx", False)]),
        (
            "try:\n    import httpx\nexcept ImportError as error:\n    raise ImportError('x') from error",
            [("httpx", False)],
        ),
        ("try:\n    import httpx\nexcept ImportError:\n    httpx = None", [("httpx", True)]),
        ("def f():\n    import httpx", [("httpx", True)]),
        ("class A:\n    import httpx", [("httpx", False)]),
        ("import os, json.decoder\nfrom . import x\nfrom .y import z\nimport mrd_hf.errors", []),
        ("from PIL import Image", [("pillow", False)]),
    ],
)
def test_imports_are_found_wherever_they_stand(tmp_path, monkeypatch, code, expected):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "a.py").write_text(code)
    assert [(found.distribution, found.optional) for found in imports_of(tmp_path / "a.py")] == expected
