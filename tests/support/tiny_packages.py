"""Python packages as pip leaves them, for models that come in one."""

from pathlib import Path


def install(site: Path, name: str, version: str = "1.0") -> None:
    """Write what pip would of the package `name`, whose files are already in `site` in a folder of that name.

    Importing it fails, so that a test sees whether something does.
    """
    module = name.replace("-", "_")
    (site / module).mkdir(parents=True, exist_ok=True)
    (site / module / "__init__.py").write_text('raise RuntimeError("nothing of this package is to be run")\n')
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    files = sorted(path.relative_to(site).as_posix() for path in (site / module).rglob("*") if path.is_file())
    lines = [f"{file},," for file in [*files, f"{info.name}/METADATA", f"{info.name}/RECORD"]]
    (info / "RECORD").write_text("\n".join([f"../../bin/{name},,", *lines]) + "\n")
