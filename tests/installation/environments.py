"""Environments as users have them, with nothing of this one in them: what a package lacks shows only there.

    python tests/installation/environments.py

makes `plain`, `remote_code` and `handler`, or leaves them if they are as they should be; `make test` calls it. Each is
what one `pip install` makes of an empty environment, with the newest versions that there are, but for torch: it is
`constraints.txt`'s, since the newest one brings a graphics card's libraries along, several GB of them. It lies on the
disk once, in an environment of its own that the others find by a path file; pip sees it there and does not install it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from collections.abc import Callable
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
    if name == "lowest":
        return _environment(name, _install_lowest, (ROOT / "pyproject.toml").read_text())
    requirements = [pinned_torch(), *REQUIREMENTS[name]]

    def install(python: Path) -> None:
        lend_torch(python)
        pip_install(python, *requirements)

    return _environment(name, install, "\n".join(requirements))


def lend_torch(python: Path) -> None:
    """Let an environment find the torch of `constraints.txt`, and what torch requires, where they are installed once.

    What is installed in the environment itself comes first: where a requirement needs another version of what torch
    brought, pip installs it there.
    """
    (_site_packages(python) / "torch.pth").write_text(f"{_site_packages(_torch_environment())}\n")


def _torch_environment() -> Path:
    return _environment("torch", lambda python: pip_install(python, pinned_torch()), pinned_torch())


def _environment(name: str, install: Callable[[Path], None], recipe: str) -> Path:
    """The interpreter of an environment that `install` fills; rebuilt if recipe, Python or this file has changed."""
    folder = FOLDER / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    recipe = hashlib.sha256(f"{recipe}\n{sys.version}\n{Path(__file__).read_text()}".encode()).hexdigest()
    if not (folder / MADE).is_file() or (folder / MADE).read_text() != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=sys.platform != "win32")
        install(python)
        (folder / MADE).write_text(recipe)
    return python


def _site_packages(python: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(python.parents[1])}))


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
    _torch_environment()  # once, before those that look for it side by side
    with ThreadPoolExecutor() as pool:
        list(pool.map(environment_python, REQUIREMENTS))
