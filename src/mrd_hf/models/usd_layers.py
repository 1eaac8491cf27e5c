"""The files that a USD scene consists of, gathered into a folder of its own before USD puts them together.

USD opens whatever its files name, anywhere. So each file is opened alone first, to see what it names, and those are
fetched as the caller allows. What leads out of the folder, or is computed only while a scene is put together, is
refused.
"""

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .shape_limits import check_size
from .usd_probe import CRATE, check_survives
from .zip_members import ZipMembers, leads_out


LAYER_SUFFIXES = (".usd", ".usda", ".usdc")
MAX_LAYERS = 1000
MAX_PRIMS = 1_000_000
# A layer's path, and the prim's in it; "" for the layer's default prim.
Prim = tuple[str, str]


def load_usd() -> Any:
    """The package pxr, with the modules that are used here.

    Raises:
        ValueError: It is missing.
    """
    try:
        import pxr
        from pxr import Sdf, Tf, Usd, UsdGeom, UsdShade  # noqa: F401  (whose names it has from now on)
    except ImportError as error:
        raise ValueError(f"USD needs usd-core: pip install 'mrd-hf[formats]' ({error})") from error
    return pxr


def unpack_package(data: bytes) -> tuple[str, bytes, Callable[[str], bytes]]:
    """The name and content of a package's (.usdz) first layer, and what reads the others and its textures.

    Raises:
        ValueError: It is damaged, too large, or has no layer.
    """
    members = ZipMembers(data)
    name = next((name for name in members.in_order() if name.lower().endswith(LAYER_SUFFIXES)), None)
    content = None if name is None else members.read(name)
    if name is None or content is None:
        raise ValueError(f"the package has no file of {', '.join(LAYER_SUFFIXES)}")

    def get(path: str) -> bytes:
        found = members.read(path)
        if found is None:
            raise FileNotFoundError(f"file not found: {path}")
        return found

    return name, content, get


def gather_layers(folder: Path, name: str, data: bytes, get: Callable[[str], bytes]) -> None:
    """Write a layer and all that it is put together from into a folder, each by its path.

    Args:
        folder (`Path`): Empty.
        name (`str`): The layer's path in it, with /.
        data (`bytes`): The layer.
        get (`Callable[[str], bytes]`): Content of a file by its path. Raises `FileNotFoundError`.

    Raises:
        ValueError: A file is damaged, missing, or names what is not read.
    """
    pxr = load_usd()
    waiting, written, size, arcs = [(name, data)], {name}, 0, _Arcs()
    while waiting:
        path, content = waiting.pop()
        size += len(content)
        check_size(size)
        if len(written) > MAX_LAYERS:
            raise ValueError(f"it consists of more than {MAX_LAYERS} files")
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if content.startswith(CRATE):
            check_survives(file)
        layer = pxr.Sdf.Layer.FindOrOpen(str(file))
        if layer is None:
            raise ValueError(f"{path}: damaged")
        arcs.add(layer, path)
        for named in sorted(set(layer.GetCompositionAssetDependencies()) - {""}):
            its_path = _path_of(str(named), path)
            if its_path not in written:
                written.add(its_path)
                try:
                    waiting.append((its_path, get(its_path)))
                except FileNotFoundError as error:
                    raise ValueError(f"{path} consists of other files as well: {error}") from error
    arcs.check(name)


def _path_of(named: str, beside: str) -> str:
    """Where a layer's file lies that another one names."""
    path = named.replace("\\", "/")
    if "`" in path or "$" in path or ":" in path or "[" in path or leads_out(path) and path.startswith("/"):
        raise ValueError(f"{beside} names {named[:100]!r}: only files beside it are read")
    found = posixpath.normpath(posixpath.join(posixpath.dirname(beside), path))
    if leads_out(found):
        raise ValueError(f"{beside} names {named[:100]!r}: only files in its folder and below are read")
    if not found.lower().endswith(LAYER_SUFFIXES):
        raise ValueError(f"{beside} names {named[:100]!r}: only {', '.join(LAYER_SUFFIXES)} are read")
    return found


class _Arcs:
    """What prims are put together from: those below them, and those that they refer to, in this layer or another.

    Files of a few lines can refer to themselves many times over at each of many levels, and USD would go through all
    of it. So it is counted before.
    """

    def __init__(self) -> None:
        self.parts: dict[Prim, list[Prim]] = {}
        self.default: dict[str, str] = {}
        self._counts: dict[Prim, int] = {}

    def add(self, layer: Any, path: str) -> None:
        """Note what the prims of a layer refer to.

        Raises:
            ValueError: A prim has value clips, which are files that USD opens by itself.
        """
        self.default[path] = f"/{layer.defaultPrim}" if layer.defaultPrim else "/"

        def note(found: Any) -> None:
            if found.IsPropertyPath() or found.IsTargetPath():
                return
            its_parts = self.parts.setdefault((path, str(found)), [])
            if found != found.GetParentPath() and not found.IsAbsoluteRootPath():
                self.parts.setdefault((path, str(found.GetParentPath())), []).append((path, str(found)))
            if not found.IsPrimPath():
                return
            prim = layer.GetObjectAtPath(found)
            if prim.HasInfo("clips"):
                raise ValueError(f"{path}: {found} has value clips, which are not read")
            for arcs in (prim.referenceList, prim.payloadList):
                for arc in arcs.GetAddedOrExplicitItems():
                    target = _path_of(str(arc.assetPath), path) if arc.assetPath else path
                    its_parts.append((target, str(arc.primPath)))
            for arcs in (prim.inheritPathList, prim.specializesList):
                its_parts += [(path, str(arc)) for arc in arcs.GetAddedOrExplicitItems()]

        layer.Traverse(layer.pseudoRoot.path, note)

    def check(self, path: str) -> None:
        """Raise a `ValueError` if a layer is put together from more than `MAX_PRIMS` prims, or in a circle."""
        try:
            self._count((path, "/"), set())
        except RecursionError:
            raise ValueError("its prims are nested too deep") from None

    def _count(self, prim: Prim, above: set[Prim]) -> int:
        path, place = prim
        prim = (path, place or self.default.get(path, "/"))
        if prim in self._counts:
            return self._counts[prim]
        if prim in above:
            raise ValueError(f"{path}: {place} refers to itself")
        count = 1 + sum(self._count(part, above | {prim}) for part in self.parts.get(prim, []))
        if count > MAX_PRIMS:
            raise ValueError(f"it is put together from more than {MAX_PRIMS:,} prims, most of them many times over")
        self._counts[prim] = count
        return count
