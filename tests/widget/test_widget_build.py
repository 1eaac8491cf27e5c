"""The page's bundle: the same bytes each time, small enough, and of the packages that the lock file names."""

import hashlib
import json
from pathlib import Path

from support.widget_tool import WIDGET, run_node


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_the_same_bytes_twice(tmp_path):
    for name in ("first", "second"):
        run_node("build.mjs", tmp_path / name)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "first").iterdir()}
    common = {name: size for name, size in sizes.items() if not name.startswith("runtime-")}
    for kind in ("cpu", "gpu"):
        runtime = {name: size for name, size in sizes.items() if name.startswith(f"runtime-{kind}")}
        assert sum({**common, **runtime}.values()) < 12e6, sizes
    # Browsers refuse scripts of another type: these endings are known to all servers, .mjs is not to nginx.
    assert {Path(name).suffix for name in sizes} == {".js", ".html", ".css", ".txt", ".gzip"}
    # Firefox before 120 and Safari before 17.5 leave out each colour that says it.
    assert "light-dark(" not in (tmp_path / "first/style.css").read_text(encoding="utf-8")
    # Nothing names this machine, or is fetched from a server of others.
    for name in ("page.js", "worker.js", "draco.js", "meshopt.js", "basis.js", "index.html"):
        text = (tmp_path / "first" / name).read_text(encoding="utf-8")
        assert str(WIDGET) not in text and "cdn." not in text, name


def test_the_lock_file_fits_and_names_no_registry():
    package, lock = (json.loads((WIDGET / name).read_text()) for name in ("package.json", "package-lock.json"))
    root = lock["packages"][""]
    for kind in ("dependencies", "devDependencies"):
        assert root[kind] == package[kind]
        assert all(version[0].isdigit() for version in package[kind].values()), "versions are pinned"
    assert "://" not in json.dumps([entry.get("resolved", "") for entry in lock["packages"].values()])
