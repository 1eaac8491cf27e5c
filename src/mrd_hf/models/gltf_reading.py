"""glTF 2.0 and GLB into coloured triangles or, of a file without any, points.

Read are the default scene's meshes where, and in the pose in which, the file puts them; of materials what
gltf_materials.py says. Animations, cameras, lights and everything that depends on light are left out. An extension
that the file requires and that is not known is an error with its name.

Source: the glTF 2.0 specification, section 3.7 (meshes).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .gltf_document import GltfDocument
from .gltf_extensions import SPLATS, check_extensions
from .gltf_materials import GltfMaterials, Surface, corner_tints
from .gltf_nodes import PlacedMesh, hidden_meshes, placed_meshes
from .gltf_primitives import FAN, LINES, POINTS, STRIP, TRIANGLES, GltfPrimitive, face_corners, of_instances
from .shape_colors import linear_to_srgb, texel_rows_and_columns, tinted
from .shapes import ColoredPoints, ColorSource, MeshPart, PointCloud, TexturedMesh
from .surface_sampling import MIN_OPACITY


# Of a splat's colour that is the same from all sides, and below which opacity a splat does not show: as of PLY.
HARMONIC, MIN_SPLAT_OPACITY = 0.28209479177387814, 0.1


def read_gltf(data: bytes, get: Callable[[str], bytes]) -> TexturedMesh | PointCloud:
    """Read a glTF or GLB file.

    Args:
        data (`bytes`): The file.
        get (`Callable[[str], bytes]`): Content of a file that it names. Raises `FileNotFoundError`.

    Returns:
        `TexturedMesh`, whose corners may be not finite, as the file says; or `PointCloud`, where there is no face.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    document = GltfDocument(data, get)
    warnings = check_extensions(document)
    reader = _Reader(document, warnings)
    for placed in placed_meshes(document):
        reader.add(placed)
    hidden = hidden_meshes(document)
    if hidden:
        warnings.append(f"{hidden} of {len(document.items('meshes'))} meshes left out: they are not in the scene")
    return reader.result()


class _Reader:
    """Collects triangles and points, primitive by primitive."""

    def __init__(self, document: GltfDocument, warnings: list[str]) -> None:
        self.document = document
        self.warnings = warnings
        self.materials = GltfMaterials(document, warnings)
        self.parts: list[MeshPart] = []
        self.clouds: list[PointCloud] = []
        self.num_faces = self.num_lines = 0
        self._primitives: dict[tuple[int, int], GltfPrimitive] = {}

    def add(self, placed: PlacedMesh) -> None:
        mesh = self.document.item("meshes", placed.mesh)
        weights = placed.weights if placed.weights is not None else mesh.get("weights")
        primitives = mesh.get("primitives") or []
        try:
            # Counted before any is read, which takes a moment each.
            self.document.budget.take("parts", sum(each.get("mode", TRIANGLES) not in LINES for each in primitives))
        except ValueError as error:
            raise ValueError(f"meshes {placed.mesh}: {error}") from None
        for number, primitive in enumerate(primitives):
            mode = primitive.get("mode", TRIANGLES)
            if mode in LINES:
                self.num_lines += 1
                continue
            try:
                if mode not in (POINTS, TRIANGLES, STRIP, FAN):
                    raise ValueError(f"mode {mode!r}")
                place = (placed.mesh, number)
                if place not in self._primitives:
                    self._primitives[place] = GltfPrimitive(self.document, primitive)
                self._add_primitive(self._primitives[place], placed, weights)
            except ValueError as error:
                raise ValueError(f"meshes {placed.mesh}, primitives {number}: {error}") from None

    def _add_primitive(self, primitive: GltfPrimitive, placed: PlacedMesh, weights: list[float] | None) -> None:
        if "POSITION" not in primitive:
            self.warnings.append("primitives without positions left out")
            return
        self.warnings += primitive.warnings
        indices = primitive.indices()
        positions = primitive.attribute("POSITION", (3,), weights)
        count = len(positions)
        positions = primitive.moved(positions, placed)
        surface = self.materials.surface(primitive.json.get("material"))
        colors = None
        if "COLOR_0" in primitive and surface.takes_vertex_colors:
            colors = np.nan_to_num(primitive.attribute("COLOR_0", (3, 4), weights), nan=1.0)
        uv = self._texture_places(primitive, surface, weights)
        if surface.texture is not None and uv is None:
            surface = replace(surface, texture=None)
        instances = len(placed.transforms)
        if primitive.mode == POINTS:
            self.document.budget.take("points", len(indices) * instances)
            self._add_points(primitive, positions.reshape(instances, count, 3), indices, surface, colors, uv)
            return
        faces = face_corners(primitive.mode, len(indices))
        if primitive.mode == TRIANGLES and len(indices) % 3:
            self.warnings.append(f"{len(indices) % 3} of {len(indices):,} corners left out: a triangle has three")
        self.num_faces += len(faces) * instances
        self.document.budget.take("faces", len(faces) * instances)
        if not len(faces):
            return  # whose material is no colour of the shape's
        faces = of_instances(indices.take(faces), count, instances)
        if instances > 1:
            colors, uv = (None if each is None else np.tile(each, (instances, 1)) for each in (colors, uv))
        tint, shown = surface.shown
        if colors is not None:
            tint = corner_tints(surface, colors.take(faces, axis=0))
            shown = linear_to_srgb(np.ones(3) if tint is None else tint[..., :3])
        corner_colors = np.broadcast_to(shown, (len(faces), 3, 3))
        if tint is not None:
            # Of one colour all over and opaque, it says no more than the corners' colours do.
            needed = surface.texture is not None or colors is not None or surface.alpha != "opaque"
            tint = np.broadcast_to(tint, (len(faces), 3, 4)) if needed else None
        self.parts.append(
            MeshPart(
                positions.take(faces, axis=0),
                corner_colors,
                surface.texture,
                None if uv is None else uv.take(faces, axis=0),
                _source(surface, colors),
                tint,
                surface.wrap,
                placed.name,
                placed.groups,
            )
        )

    def _texture_places(
        self, primitive: GltfPrimitive, surface: Surface, weights: list[float] | None
    ) -> np.ndarray | None:
        """Where each vertex is in the texture, from its lower left; None, and a warning, if the file does not say."""
        if surface.texture is None:
            return None
        name = f"TEXCOORD_{surface.uv_set}"
        if name not in primitive:
            material = primitive.json.get("material")
            self.warnings.append(f"texture without coordinates ({name}): material {material}")
            return None
        # Two of three, which Assimp writes where its source has so many.
        uv = np.nan_to_num(primitive.attribute(name, (2, 3, 4), weights)[:, :2], posinf=0.0, neginf=0.0)
        uv = uv @ surface.uv_transform[:2, :2].T + surface.uv_transform[:2, 2]
        return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)

    def _add_points(
        self,
        primitive: GltfPrimitive,
        positions: np.ndarray,
        chosen: np.ndarray,
        surface: Surface,
        colors: np.ndarray | None,
        uv: np.ndarray | None,
    ) -> None:
        """Points; `positions` have the shape `(num_instances, num_vertices, 3)`."""
        instances = len(positions)
        shown = np.ones(len(chosen), dtype=bool)
        source = _source(surface, colors)
        harmonics, opacity = f"{SPLATS}:SH_DEGREE_0_COEF_0", f"{SPLATS}:OPACITY"
        if harmonics in primitive:
            light = 0.5 + HARMONIC * primitive.attribute(harmonics, (3,))[chosen]
            space = str((primitive.json.get("extensions") or {}).get(SPLATS, {}).get("colorSpace", ""))
            light = np.clip(light, 0, 1)
            rgb = linear_to_srgb(light) if "lin" in space else np.round(light * 255).astype(np.uint8)
            source = "vertex colours"
            if opacity in primitive:
                shown = primitive.attribute(opacity, (1,))[chosen, 0] >= MIN_SPLAT_OPACITY
        else:
            texels = None
            if surface.texture is not None and uv is not None:
                height, width = surface.texture.shape[:2]
                texels = surface.texture[texel_rows_and_columns(uv[chosen], height, width, surface.wrap)]
            tints = corner_tints(surface, None if colors is None else colors[chosen])
            tints = np.ones((1, 4)) if tints is None else tints.reshape(-1, 4)
            rgba = tinted(texels, np.broadcast_to(tints, (len(chosen), 4)))
            rgb, shown = rgba[:, :3], rgba[:, 3] >= MIN_OPACITY
            # Exporters give clouds without colours a white material.
            if source == "material" and (surface.factor[:3] == 1).all():
                source = None
        if not shown.any():
            shown[:] = True
        xyz = positions[:, chosen[shown]].reshape(-1, 3)
        points = ColoredPoints(xyz, None if source is None else np.tile(rgb[shown], (instances, 1)))
        self.clouds.append(PointCloud(points, source))

    def result(self) -> TexturedMesh | PointCloud:
        if self.num_lines:
            self.warnings.append(f"{self.num_lines} sets of lines left out")
        num_points = sum(len(cloud.points.xyz) for cloud in self.clouds)
        is_cloud = not self.num_faces and num_points > 0
        if num_points and not is_cloud:
            self.warnings.append(f"{num_points} points beside the surface left out")
        warnings = list(dict.fromkeys(self.warnings))
        extensions = sorted(map(str, self.document.json.get("extensionsUsed") or []))
        if self.num_lines and not self.num_faces and not num_points:
            raise ValueError("it holds only lines, of which no points are drawn")
        if is_cloud:
            source = next((cloud.color_source for cloud in self.clouds if cloud.color_source), None)
            return PointCloud(_joined([cloud.points for cloud in self.clouds]), source, warnings, "y", extensions)
        return TexturedMesh(self.parts, warnings, "y", extensions)


def _joined(points: list[ColoredPoints]) -> ColoredPoints:
    xyz = np.concatenate([each.xyz for each in points])
    if all(each.rgb is None for each in points):
        return ColoredPoints(xyz, None)
    white = [np.full(each.xyz.shape, 255, dtype=np.uint8) if each.rgb is None else each.rgb for each in points]
    return ColoredPoints(xyz, np.concatenate(white))


def _source(surface: Surface, colors: np.ndarray | None) -> ColorSource | None:
    """What says the colour; the first of those that count."""
    if surface.texture is not None:
        return "texture"
    if colors is not None:
        return "vertex colours"
    return "material" if surface.is_colored else None
