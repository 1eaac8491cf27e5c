"""Environments as users have them, with nothing of this one in them: what a package lacks shows only there.

    python tests/installation/environments.py

makes `plain`, `remote_code` and `handler`, or leaves them if they are as they should be; `make test` calls it. Each is
what one `pip install` makes of an empty environment, with the newest versions that there are, but for torch: it is
`constraints.txt`'s, since the newest one brings a graphics card's libraries along, several GB of them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


ROOT = Path(__file__).parents[2]
FOLDER = Path(sys.prefix) / "installations"
MADE = "made-of"
FOR_DEVELOPERS = ("test", "docs", "dev", "browser")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HANDLER_REQUIREMENTS = ROOT / "src" / "mrd_hf" / "hub" / "endpoint" / "requirements.txt"
# What `pip install` is asked for.
REQUIREMENTS = {
    # Of the package; its wheel is put in by the tests that need it, since it changes more often.
    "plain": PROJECT["dependencies"],
    # To load an encoder by `trust_remote_code=True`, without the package.
    "remote_code": ["torch", "transformers", "trimesh", "pillow"],
    # The Inference Endpoint's.
    "handler": HANDLER_REQUIREMENTS.read_text().split(),
}


def environment_python(name: str) -> Path:
    """The interpreter of an environment, which is made first unless it is there as it should be.

    Args:
        name (`str`): A key of `REQUIREMENTS`, or `lowest`: what the package and its extras require, but for those for
            developers, in the lowest versions that pyproject.toml allows.

    Raises:
        subprocess.CalledProcessError: when pip cannot install; it has said why.
    """
    folder = FOLDER / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if name == "lowest":
        make, recipe = _install_lowest, (ROOT / "pyproject.toml").read_text()
    else:
        requirements = [pinned_torch(), *REQUIREMENTS[name]]
        make, recipe = (lambda python: pip_install(python, *requirements)), "\n".join(requirements)
    recipe = hashlib.sha256(f"{recipe}\n{sys.version}\n{Path(__file__).read_text()}".encode()).hexdigest()
    if not (folder / MADE).is_file() or (folder / MADE).read_text() != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=sys.platform != "win32")
        make(python)
        (folder / MADE).write_text(recipe)
    return python


def build_wheel(folder: Path) -> Path:
    """Build this package's wheel into a folder, from a copy: what a build leaves behind would be in the next one."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
            source, target = ROOT / name, Path(copy) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
            else:
                shutil.copy(source, target)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), copy]
        subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(python: Path, wheel: Path) -> None:
    """Install the wheel alone, in place of an earlier one."""
    pip_install(python, "--no-deps", "--force-reinstall", str(wheel))


def pip_install(python: Path, *arguments: str) -> None:
    """Install into the environment of an interpreter by this one's pip."""
    # Bytecode is made of what is imported, when it is: a tenth of what is installed.
    options = ["--quiet", "--no-compile", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, *arguments]
    # What PYTHONPATH has would count as installed.
    subprocess.run(command, check=True, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"})


def pinned_torch() -> str:
    """The requirement of torch in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def _install_lowest(python: Path) -> None:
    """By uv, whose resolver knows how to go low; from its own environment, as nothing else here needs it."""
    extras = PROJECT["optional-dependencies"]
    requirements = [line for extra, lines in extras.items() if extra not in FOR_DEVELOPERS for line in lines]
    venv.create(FOLDER / "uv", with_pip=True, clear=True)
    subprocess.run([FOLDER / "uv" / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    options = ["--quiet", "--resolution", "lowest-direct", "--python", str(python)]
    command = [str(FOLDER / "uv" / "bin" / "uv"), "pip", "install", *options]
    subprocess.run([*command, *PROJECT["dependencies"], *requirements], check=True)


if __name__ == "__main__":
    with ThreadPoolExecutor() as pool:
        list(pool.map(environment_python, REQUIREMENTS))
