"""The files that a USD scene consists of, gathered into a folder of its own before USD puts them together.

USD opens whatever its files name, anywhere. So each file is opened alone first, to see what it names, and those are
fetched as the caller allows. What leads out of the folder, or is computed only while a scene is put together, is
refused.
"""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .shape_limits import check_size
from .usd_probe import CRATE, check_survives
from .zip_members import ZipMembers, leads_out


LAYER_SUFFIXES = (".usd", ".usda", ".usdc")
MAX_LAYERS = 1000
MAX_PRIMS = 1_000_000
# The path of a layer, and of a prim in it or in its sublayers; "" for the layer's default prim.
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


@dataclass
class _Spec:
    """What a layer says of a prim, in any variant: the prims below it, and those that it refers to.

    Args:
        below (`set[str]`): By their paths.
        arcs (`list[Prim]`): A layer "" is the one that the prim's layer is a sublayer of, or itself.
    """

    below: set[str] = field(default_factory=set)
    arcs: list[Prim] = field(default_factory=list)


class _Arcs:
    """What prims are put together from: those below them, and those that they refer to, in this layer or another.

    Files of a few lines can refer to themselves many times over at each of many levels, and USD would go through all
    of it. So it is counted before: a layer together with its sublayers, and all variants, whichever are chosen.
    """

    def __init__(self) -> None:
        self.specs: dict[str, dict[str, _Spec]] = {}  # by the prim's path, then by the layer's
        self.default: dict[str, str] = {}
        self.sublayers: dict[str, list[str]] = {}
        self._stacks: dict[str, set[str]] = {}
        self._counts: dict[tuple[Prim, bool], int] = {}
        self._above: set[tuple[Prim, bool]] = set()

    def add(self, layer: Any, path: str) -> None:
        """Note what the prims of a layer refer to.

        Raises:
            ValueError: It has value clips, which are files that USD opens by itself, or moves prims of other layers.
        """
        if layer.defaultPrim:
            self.default[path] = "/" + str(layer.defaultPrim).lstrip("/")
        self.sublayers[path] = [_path_of(str(each), path) for each in layer.subLayerPaths if each]
        if layer.HasRelocates():
            raise ValueError(f"{path} relocates prims, which is not read")

        def note(found: Any) -> None:
            prim = layer.GetPrimAtPath(found) if found.IsPrimPath() or found.IsPrimVariantSelectionPath() else None
            if prim is None:
                return
            if prim.HasInfo("clips"):
                raise ValueError(f"{path}: {found} has value clips, which are not read")
            place = found.StripAllVariantSelections()
            self._spec(str(place.GetParentPath()), path).below.add(str(place))
            arcs = self._spec(str(place), path).arcs
            for named in (prim.referenceList, prim.payloadList):
                for arc in named.GetAddedOrExplicitItems():
                    target = _path_of(str(arc.assetPath), path) if arc.assetPath else ""
                    arcs.append((target, str(arc.primPath)))
            for inherited in (prim.inheritPathList, prim.specializesList):
                arcs += [("", str(arc)) for arc in inherited.GetAddedOrExplicitItems()]

        layer.Traverse(layer.pseudoRoot.path, note)

    def check(self, path: str) -> None:
        """Raise a `ValueError` if a layer is put together from more than `MAX_PRIMS` prims, or in a circle."""
        try:
            self._count((path, "/"))
        except RecursionError:
            raise ValueError("its prims are nested too deep") from None

    def _spec(self, place: str, path: str) -> _Spec:
        return self.specs.setdefault(place, {}).setdefault(path, _Spec())

    def _stack(self, path: str) -> set[str]:
        """A layer and all its sublayers."""
        if path not in self._stacks:
            found = [path]
            for layer in found:  # which grows
                found += self.sublayers.get(layer, [])
                if len(found) > MAX_LAYERS:
                    raise ValueError(f"{path} has more than {MAX_LAYERS} sublayers, or itself among them")
            self._stacks[path] = set(found)
        return self._stacks[path]

    def _said(self, prim: Prim) -> list[_Spec]:
        path, place = prim
        layers = self.specs.get(place, {})
        return [layers[layer] for layer in sorted(layers.keys() & self._stack(path))]

    def _targets(self, prim: Prim, below: str = "") -> list[Prim]:
        """What a prim refers to, or for one below it, what is at the same place there."""
        arcs = [(layer or prim[0], place) for spec in self._said(prim) for layer, place in spec.arcs]
        named = [(layer, place or self.default.get(layer, "")) for layer, place in arcs]
        return [(layer, place + below) for layer, place in named if place]

    def _count(self, prim: Prim, is_target: bool = False) -> int:
        """Of how many prims one is put together.

        Args:
            prim (`Prim`): With its path.
            is_target (`bool`): Whether another refers to it. It then brings what those above it refer to as well.
        """
        path, place = prim
        key = (prim, is_target)
        if key in self._counts:
            return self._counts[key]
        if key in self._above:
            raise ValueError(f"{path}: {place} refers to itself")
        self._above.add(key)
        said = self._said(prim)
        targets = self._targets(prim)
        above = place.rpartition("/")[0]
        while is_target and above:
            targets += self._targets((path, above), place[len(above) :])
            above = above.rpartition("/")[0]
        count = max(len(said), 1)
        parts = [((path, child), False) for child in sorted(set().union(*(spec.below for spec in said)))]
        for part, refers in parts + [(target, True) for target in targets]:
            count += self._count(part, refers)
            if count > MAX_PRIMS:
                raise ValueError(
                    f"it is put together from more than {MAX_PRIMS:,} prims, most of them many times over"
                )
        self._above.remove(key)
        self._counts[key] = count
        return count
