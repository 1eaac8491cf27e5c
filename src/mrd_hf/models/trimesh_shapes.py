"""Objects of trimesh's into coloured triangles or, without any face, points.

Of a PBR material the base colour factor, which is linear, multiplies the texture, as in glTF. Of a simple material, as
in Wavefront's MTL, the texture replaces the diffuse colour.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from .left_out_parts import SEEN, PartChoice
from .mesh_loading import checked_mesh
from .shape_colors import linear_to_srgb, srgb_to_linear
from .shape_limits import MAX_FACES
from .shapes import DEFAULT_COLOR, ColoredPoints, ColorSource, MeshError, MeshPart, PointCloud, TexturedMesh
from .textures import texture_to_rgba


# This file travels with checkpoints, whose other code needs neither: guarded, transformers does not ask for them.
try:
    import trimesh
    from PIL import Image
    from trimesh.visual.material import PBRMaterial, SimpleMaterial
except ImportError as error:
    raise ImportError(f"Objects of trimesh's need it and Pillow: pip install trimesh pillow ({error}).") from error


def convert_shape(
    geometry: trimesh.Trimesh | trimesh.Scene | trimesh.PointCloud, name: str, choice: PartChoice = SEEN
) -> TexturedMesh | PointCloud:
    """What [`load_mesh`] gives of a file, of an object of trimesh's. It is left as it is.

    Args:
        geometry (`trimesh.Trimesh`, `trimesh.Scene` or `trimesh.PointCloud`)
        name (`str`): For messages.
        choice (`PartChoice`, *optional*): Which of its meshes are taken. Default: all but collision meshes.

    Raises:
        MeshError: It has neither a surface nor a point.
    """
    scene = geometry if isinstance(geometry, trimesh.Scene) else trimesh.Scene(geometry)
    placed = []
    num_others = 0
    for node in scene.graph.nodes_geometry:
        transform, geometry_name = scene.graph[node]
        found = scene.geometry[geometry_name]
        if isinstance(found, (trimesh.Trimesh, trimesh.PointCloud)):
            placed.append((transform, found, (str(node), str(geometry_name))))
        else:
            num_others += 1
    warnings = [f"{num_others} paths left out"] if num_others else []
    meshes = [
        (transform, mesh, groups)
        for transform, mesh, groups in placed
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)
    ]
    if meshes:
        if len(meshes) < len(placed):
            warnings.append(f"{len(placed) - len(meshes)} sets of points beside the surface left out")
        return _mesh(meshes, name, choice, warnings)
    if sum(len(geometry.vertices) for _, geometry, _ in placed) == 0:
        raise MeshError(f"{name}: no faces and no points; expected at least one triangle or point.")
    xyz = np.concatenate([_place(geometry.vertices, transform) for transform, geometry, _ in placed])
    if not any(_has_vertex_colors(geometry) for _, geometry, _ in placed):
        return PointCloud(ColoredPoints(xyz, None), None, warnings)
    rgb = [
        np.asarray(geometry.visual.vertex_colors)[:, :3]
        if _has_vertex_colors(geometry)
        else np.full((len(geometry.vertices), 3), DEFAULT_COLOR, dtype=np.uint8)
        for _, geometry, _ in placed
    ]
    return PointCloud(ColoredPoints(xyz, np.concatenate(rgb)), "vertex colours", warnings)


def _mesh(
    placed: list[tuple[np.ndarray, trimesh.Trimesh, tuple[str, str]]],
    name: str,
    choice: PartChoice,
    warnings: list[str],
) -> TexturedMesh:
    """`warnings` is added to."""
    textures: dict[int, np.ndarray | None] = {}
    num_faces = sum(len(mesh.faces) for _, mesh, _ in placed)
    if num_faces > MAX_FACES:
        raise MeshError(f"{name}: {num_faces:,} faces; at most {MAX_FACES:,} are read. Simplify the mesh.")
    parts = []
    for transform, mesh, groups in placed:
        if not 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices):
            raise MeshError(f"{name}: a face names a vertex that does not exist (there are {len(mesh.vertices)}).")
        try:
            part = _part(mesh, transform, textures, warnings)
            parts.append(replace(part, name=groups[0], groups=groups))
        except Exception as error:
            # Materials hold whatever the caller put there.
            raise MeshError(f"{name}: its materials cannot be read ({type(error).__name__}: {error}).") from error
    try:
        chosen = choice.chosen(TexturedMesh(parts, warnings))
    except ValueError as error:
        raise MeshError(f"{name}: {error}.") from None
    return checked_mesh(chosen, name)


def _place(vertices: np.ndarray, transform: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is dropped or reported later
        return np.asarray(vertices, dtype=np.float64) @ transform[:3, :3].T + transform[:3, 3]


def _has_vertex_colors(geometry: trimesh.parent.Geometry) -> bool:
    return geometry.visual.kind == "vertex" and 0 < len(geometry.visual.vertex_colors) == len(geometry.vertices)


def _part(
    mesh: trimesh.Trimesh, transform: np.ndarray, textures: dict[int, np.ndarray | None], warnings: list[str]
) -> MeshPart:
    """One mesh; `textures` keeps what was decoded, by material, and `warnings` is added to."""
    faces = np.asarray(mesh.faces)
    triangles = _place(mesh.vertices, transform)[faces]
    visual = mesh.visual
    if visual.kind == "vertex":
        rgb = np.asarray(visual.vertex_colors, dtype=np.uint8)[faces, :3]
        return MeshPart(triangles, rgb, color_source="vertex colours")
    if visual.kind == "face":
        colors = np.asarray(visual.face_colors, dtype=np.uint8)
        return MeshPart(triangles, np.repeat(colors[:, None, :3], 3, axis=1), color_source="face colours")
    color, texture, uv = None, None, None
    if visual.kind == "texture":
        material = visual.material
        color = _diffuse_color(material)
        image = material.baseColorTexture if isinstance(material, PBRMaterial) else material.image
        # A texture without coordinates cannot be placed: the material's colour stands in.
        if image is not None and (visual.uv is None or len(visual.uv) != len(mesh.vertices)):
            warnings.append(f"texture without coordinates: material {material.name}")
        elif image is not None:
            if id(material) not in textures:
                textures[id(material)] = _texture(image.copy(), material, warnings)  # decoding may change an image
            texture = textures[id(material)]
            uv = np.nan_to_num(np.asarray(visual.uv, dtype=np.float64)[:, :2], posinf=0.0, neginf=0.0)[faces]
    corner_colors = np.broadcast_to(np.array(DEFAULT_COLOR if color is None else color, np.uint8), triangles.shape)
    source: ColorSource | None = None if color is None else "material"
    if texture is not None:
        source = "texture"
    return MeshPart(triangles, corner_colors, texture, None if texture is None else uv, source)


def _diffuse_color(material: Any) -> np.ndarray | None:
    """The material's own colour, uint8 of shape `(3,)`, whatever its texture; None if it has none."""
    if isinstance(material, PBRMaterial) and material.baseColorFactor is not None:
        return linear_to_srgb(np.asarray(material.baseColorFactor, dtype=np.uint8)[:3] / 255)
    # trimesh gives a material without a colour this one.
    if isinstance(material, SimpleMaterial) and not np.array_equal(
        material.diffuse, trimesh.visual.color.DEFAULT_COLOR
    ):
        return np.asarray(material.diffuse, dtype=np.uint8)[:3]
    return None


def _is_seen(opacity: np.ndarray, material: PBRMaterial) -> np.ndarray:
    """Which texels are no holes, as in the same material's glTF file; `opacity` is in 0..255."""
    if material.alphaMode not in ("MASK", "BLEND"):
        return np.ones(opacity.shape, dtype=bool)
    factor = 1.0 if material.baseColorFactor is None else np.asarray(material.baseColorFactor)[3] / 255
    if material.alphaMode == "BLEND":
        return opacity * factor > 0
    cutoff = 0.5 if material.alphaCutoff is None else float(material.alphaCutoff)
    return np.round(opacity * factor) >= cutoff * 255


def _texture(image: Image.Image, material: Any, warnings: list[str]) -> np.ndarray | None:
    """Texels as [`MeshPart`] wants them, or None and a warning for a damaged image."""
    try:
        texture = texture_to_rgba(image).copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        warnings.append(f"texture cannot be read: material {material.name} ({error})")
        return None
    if isinstance(material, PBRMaterial):
        if material.baseColorFactor is not None:
            factor = np.asarray(material.baseColorFactor, dtype=np.float64)[:3] / 255
            texture[..., :3] = linear_to_srgb(srgb_to_linear(texture[..., :3] / 255) * factor)
        texture[..., 3] = np.where(_is_seen(texture[..., 3], material), 255, 0)
    return texture
