"""USD (.usd, .usda, .usdc, .usdz) into coloured triangles or, of a scene without any, points, by the package usd-core.

Read are the meshes that are seen, where the scene puts them at its first frame, instances too, as they are before
subdivision; skinned ones as they were when they were bound to their bones. See usd_materials.py for their colours.

Source: OpenUSD's documentation of UsdGeom.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .polygons import triangulate
from .shape_colors import linear_to_srgb
from .shape_limits import ShapeBudget
from .shapes import DEFAULT_COLOR, ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh, Wrap
from .usd_layers import gather_layers, load_usd, unpack_package
from .usd_materials import UsdLook, UsdMaterials


MAX_DEPTH = 16
MAX_REASON = 200


def read_usd(data: bytes, kind: str, get: Callable[[str], bytes]) -> TexturedMesh | PointCloud:
    """Read a USD file.

    Args:
        data (`bytes`): The file.
        kind (`str`): "usd", "usda", "usdc" or "usdz".
        get (`Callable[[str], bytes]`): Content of a file that it names. Raises `FileNotFoundError`.

    Raises:
        ValueError: It cannot be read, names what it may not, or usd-core is missing; the message says which.
    """
    pxr = load_usd()
    name, budget = f"shape.{kind}", ShapeBudget(len(data))
    if kind == "usdz":
        name, data, get = unpack_package(data)
    get = budget.counted(get)
    with tempfile.TemporaryDirectory(prefix="mrd-hf-", ignore_cleanup_errors=True) as place:
        folder = Path(place).resolve()
        try:
            gather_layers(folder, name, data, get)
            stage = pxr.Usd.Stage.Open(str(folder / name))
            reader = _Reader(stage, folder, get, budget)
            reader.walk(stage.GetPseudoRoot(), np.eye(4), 0, pxr.Usd.PrimDefaultPredicate)
            return reader.result()
        except pxr.Tf.ErrorException as error:
            raise ValueError(f"damaged: {_reason(str(error)).replace(f'{folder}/', '')}") from error


def _reason(message: str) -> str:
    """What USD says of an error, in a line, without where in its code it was raised."""
    found = re.search(r"in file \S+ : '(.+?)'?\s*\Z", message, re.DOTALL)
    return " ".join((found[1] if found else message).split())[:MAX_REASON]


class _Reader:
    """Collects triangles and points, prim by prim."""

    def __init__(self, stage: Any, folder: Path, get: Callable[[str], bytes], budget: ShapeBudget) -> None:
        pxr = load_usd()
        self.up_axis: Any = str(pxr.UsdGeom.GetStageUpAxis(stage)).lower()
        self.time = pxr.Usd.TimeCode.EarliestTime()
        self.transforms = pxr.UsdGeom.XformCache(self.time)
        self.warnings: list[str] = []
        self.budget = budget
        self.materials = UsdMaterials(folder, get, self.time, self.warnings, budget)
        self.parts: list[MeshPart] = []
        self.clouds: list[ColoredPoints] = []
        self.left_out: dict[str, int] = {}
        self.num_faces = 0

    def walk(self, root: Any, after: np.ndarray, depth: int, which: Any) -> None:
        """Add what is below a prim, of the prims that are such as `which` says.

        `after`, `(4, 4)` for row vectors, moves what the scene has put into its place.
        """
        pxr = load_usd()
        if depth > MAX_DEPTH:
            raise ValueError("its instances consist of themselves")
        prims = iter(pxr.Usd.PrimRange(root, pxr.Usd.TraverseInstanceProxies(which)))
        for prim in prims:
            self.budget.take("placed nodes", 1)
            shown = pxr.UsdGeom.Imageable(prim)
            if not shown:
                continue
            if shown.GetVisibilityAttr().Get(self.time) == "invisible":
                prims.PruneChildren()
                continue
            if prim.IsA(pxr.UsdGeom.PointInstancer):
                prims.PruneChildren()
                self._add_instances(pxr.UsdGeom.PointInstancer(prim), after, depth)
            elif prim.IsA(pxr.UsdGeom.Gprim):
                purpose = shown.ComputePurpose()
                if purpose not in ("default", "render"):
                    self._leave_out(f"of the purpose {purpose}")
                elif prim.IsA(pxr.UsdGeom.Mesh):
                    self._add_mesh(prim, after)
                elif prim.IsA(pxr.UsdGeom.Points):
                    self._add_points(prim, after)
                else:
                    self._leave_out(f"of the type {prim.GetTypeName()}")

    def result(self) -> TexturedMesh | PointCloud:
        self.warnings += [f"{count} prims {kind} left out" for kind, count in sorted(self.left_out.items())]
        num_points = sum(len(points.xyz) for points in self.clouds)
        if num_points and not self.num_faces:
            xyz = np.concatenate([points.xyz for points in self.clouds])
            rgb = None
            if all(points.rgb is not None for points in self.clouds):
                rgb = np.concatenate([points.rgb for points in self.clouds if points.rgb is not None])
            source: ColorSource | None = None if rgb is None else "vertex colours"
            return PointCloud(ColoredPoints(xyz, rgb), source, self._said(), self.up_axis)
        if num_points:
            self.warnings.append(f"{num_points} points beside the surface left out")
        if not self.parts and self.left_out:
            raise ValueError(f"it has no mesh ({'; '.join(self._said())})")
        return TexturedMesh(self.parts, self._said(), self.up_axis)

    def _said(self) -> list[str]:
        return list(dict.fromkeys(self.warnings))

    def _leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1

    def _num_found(self) -> int:
        return len(self.parts) + len(self.clouds) + sum(self.left_out.values())

    def _world(self, prim: Any) -> np.ndarray:
        return np.array(self.transforms.GetLocalToWorldTransform(prim), dtype=np.float64)

    def _add_instances(self, instancer: Any, after: np.ndarray, depth: int) -> None:
        pxr = load_usd()
        chosen = np.array(instancer.GetProtoIndicesAttr().Get(self.time) or [], dtype=np.int64)
        kinds = pxr.UsdGeom.PointInstancer
        found = instancer.ComputeInstanceTransformsAtTime(
            self.time, self.time, kinds.IncludeProtoXform, kinds.IgnoreMask
        )
        matrices = np.array(found or [], dtype=np.float64).reshape(-1, 4, 4)
        mask = instancer.ComputeMaskAtTime(self.time)
        seen = np.array(mask, dtype=bool) if mask else np.ones(len(matrices), dtype=bool)
        paths = instancer.GetPrototypesRel().GetForwardedTargets()
        prototypes = [instancer.GetPrim().GetStage().GetPrimAtPath(path) for path in paths]
        fits = len(chosen) == len(matrices) == len(seen)
        if not fits or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(prototypes)):
            raise ValueError(f"{instancer.GetPath()}: its instances do not fit its prototypes")
        outer = self._world(instancer.GetPrim()) @ after
        # As USD shows them. They may be below an "over", which keeps them from being seen where they are defined.
        usd = pxr.Usd
        which = usd.PrimIsActive & usd.PrimHasDefiningSpecifier & ~usd.PrimIsAbstract & usd.PrimIsLoaded
        empty = set()
        for number, matrix in zip(chosen[seen].tolist(), matrices[seen], strict=True):
            self.budget.take("instances", 1)
            prototype, before = prototypes[number], self._num_found()
            if prototype:
                inner = np.linalg.pinv(self._world(prototype))
                self.walk(prototype, inner @ matrix @ outer, depth + 1, which)
            if self._num_found() == before:
                empty.add(number)
        for number in sorted(empty):
            self.warnings.append(f"nothing to see in {paths[number]}, of which {instancer.GetPath()} has instances")

    def _placed(self, prim: Any, points: Any, after: np.ndarray) -> np.ndarray:
        matrix = self._world(prim) @ after
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is dropped or reported later
            return np.array(points, dtype=np.float64).reshape(-1, 3) @ matrix[:3, :3] + matrix[3, :3]

    def _add_points(self, prim: Any, after: np.ndarray) -> None:
        pxr = load_usd()
        points = pxr.UsdGeom.Points(prim).GetPointsAttr().Get(self.time)
        if not points:
            return
        xyz = self._placed(prim, points, after)
        self.budget.take("points", len(xyz))
        every = np.arange(len(xyz))
        found = self._primvar(prim, "displayColor", every * 0, every, every)
        self.clouds.append(ColoredPoints(xyz, None if found is None else linear_to_srgb(found[:, :3])))

    def _add_mesh(self, prim: Any, after: np.ndarray) -> None:
        pxr = load_usd()
        mesh = pxr.UsdGeom.Mesh(prim)
        path = str(prim.GetPath())
        # A crate packs equal numbers to next to nothing: counted before they are copied.
        points = mesh.GetPointsAttr().Get(self.time) or []
        self.budget.take("placed vertices", len(points))
        counts = mesh.GetFaceVertexCountsAttr().Get(self.time) or []
        self.budget.take("faces", len(counts))
        sizes = np.array(counts, dtype=np.int64)
        indices = mesh.GetFaceVertexIndicesAttr().Get(self.time) or []
        if (sizes < 0).any() or sizes.sum() != len(indices):
            raise ValueError(f"{path}: its faces have {sizes.sum()} corners, and there are {len(indices)}")
        num_faces = int((sizes - 2).clip(0).sum())
        self.budget.take("faces", max(num_faces - len(counts), 0))
        num_lost = int(((sizes > 0) & (sizes < 3)).sum())
        if num_lost:
            self.warnings.append(f"{num_lost} faces of fewer than three corners left out")
        positions = self._placed(prim, points, after)
        vertices = np.array(indices, dtype=np.int64)
        if len(vertices) and not 0 <= vertices.min() <= vertices.max() < len(positions):
            raise ValueError(f"{path}: a face names a point that does not exist (there are {len(positions)})")
        self.num_faces += num_faces
        corners, polygons = triangulate(positions, vertices, sizes, self.warnings)
        holes = mesh.GetHoleIndicesAttr().Get(self.time)
        if holes:
            kept = ~np.isin(polygons, np.array(holes))
            corners, polygons = corners[kept], polygons[kept]
        if prim.HasAttribute("primvars:skel:jointIndices"):
            self.warnings.append("skinned meshes are read as they were bound, not as their bones stand")
        names = tuple(path.split("/")[1:])
        rest = np.ones(len(corners), dtype=bool)
        for subset in pxr.UsdShade.MaterialBindingAPI(prim).GetMaterialBindSubsets():
            here = np.isin(polygons, np.array(subset.GetIndicesAttr().Get(self.time) or [], dtype=np.int64)) & rest
            rest &= ~here
            self._add_part(prim, subset.GetPrim(), positions, vertices, corners[here], polygons[here], names)
        self._add_part(prim, prim, positions, vertices, corners[rest], polygons[rest], names)

    def _add_part(
        self,
        prim: Any,
        bound: Any,
        positions: np.ndarray,
        vertices: np.ndarray,
        corners: np.ndarray,
        polygons: np.ndarray,
        names: tuple[str, ...],
    ) -> None:
        """Add triangles of one material; `bound` is the mesh or the subset that it is bound to."""
        if not len(corners):
            return
        self.budget.take("parts", 1)
        triangles = positions[vertices[corners]]
        look = self.materials.look(bound)
        owners = np.repeat(polygons[:, None], 3, axis=1)
        texels, uv = (None, None) if look is None else self._texture(prim, look, owners, vertices, corners)
        tint, source = self._tint(prim, look, texels is not None, owners, vertices, corners)
        plain = np.array(DEFAULT_COLOR, dtype=np.uint8) if tint is None else linear_to_srgb(tint)
        corner_colors = np.broadcast_to(plain, triangles.shape)
        if texels is not None and tint is not None:
            opaque = np.ones((*triangles.shape[:2], 1))
            tint = np.concatenate([np.broadcast_to(tint, triangles.shape), opaque], axis=2).astype(np.float32)
            tint = None if (tint == 1).all() else tint
        else:
            tint = None
        wrap: tuple[Wrap, Wrap] = ("repeat", "repeat") if look is None else look.wrap
        self.parts.append(MeshPart(triangles, corner_colors, texels, uv, source, tint, wrap, names[-1], names))

    def _texture(
        self, prim: Any, look: UsdLook, owners: np.ndarray, vertices: np.ndarray, corners: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        if look.texels is None:
            return None, None
        uv = self._primvar(prim, look.coordinates, owners, vertices[corners], corners)
        if uv is None or uv.shape[-1] < 2:
            self.warnings.append(f"texture without coordinates ({look.coordinates}): {prim.GetName()}")
            return None, None
        uv = np.nan_to_num(uv[..., :2], posinf=0.0, neginf=0.0)
        if look.transform is not None:
            uv = uv @ look.transform[:, :2].T + look.transform[:, 2]
        return look.texels, uv

    def _tint(
        self,
        prim: Any,
        look: UsdLook | None,
        is_textured: bool,
        owners: np.ndarray,
        vertices: np.ndarray,
        corners: np.ndarray,
    ) -> tuple[np.ndarray | None, ColorSource | None]:
        """The linear colour, of each corner or of all, and what says it."""
        if look is not None and look.primvar is None:
            return look.color, "texture" if is_textured else "material"
        name = "displayColor" if look is None or look.primvar is None else look.primvar
        found = self._primvar(prim, name, owners, vertices[corners], corners)
        if found is not None and found.shape[-1] >= 3:
            return found[..., :3], "vertex colours"
        return (None, None) if look is None else (look.color, "material")

    def _primvar(
        self, prim: Any, name: str, owners: np.ndarray, vertices: np.ndarray, corners: np.ndarray
    ) -> np.ndarray | None:
        """The values of a primvar at corners; None, and a warning if it does not fit, where there are none."""
        pxr = load_usd()
        primvar = pxr.UsdGeom.PrimvarsAPI(prim).FindPrimvarWithInheritance(name)
        values = primvar.ComputeFlattened(self.time) if primvar and primvar.HasValue() else None
        if values is None:
            return None
        array = np.array(values, dtype=np.float64)
        array = array.reshape(1, -1) if array.ndim == 1 else array
        kind = primvar.GetInterpolation()
        rows = {"constant": 0 * owners, "uniform": owners, "vertex": vertices, "varying": vertices}.get(kind, corners)
        if not len(array) or (rows.size and rows.max() >= len(array)):
            self.warnings.append(f"{name} of {prim.GetName()} left out: {len(array)} values do not fit its {kind}")
            return None
        return array[rows]
