"""Read a mesh file of any format trimesh knows, or an object of trimesh's, into textured triangles.

What trimesh returns differs by format (simple and PBR materials, vertex colours, no visual at all) and hides some
mishaps (a texture that is not there is a debug message). Here all of it becomes one plain form: a [`TexturedMesh`]
of parts whose colours need no further rules, with a warning for whatever had to be replaced.

Colours follow each format's convention. Wavefront OBJ: a texture replaces the diffuse colour Kd (a black Kd under a
texture must not blacken it). glTF: the base colour factor, which is linear, multiplies the texture. A material that
says nothing is light grey.

A file without any face is a point cloud: of it, [`load_mesh`] gives the vertices.
"""

import io
import posixpath
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .gltf_checks import check_gltf
from .shape_limits import MAX_FACES, check_image
from .shapes import ColoredPoints, MeshError, MeshPart, TexturedMesh, triangle_areas
from .textures import linear_to_srgb, srgb_to_linear, texture_to_rgba


# This file travels with checkpoints, whose other code needs neither: guarded, transformers does not ask for them.
try:
    import trimesh
    from PIL import Image
    from trimesh.resolvers import Resolver
    from trimesh.visual.material import PBRMaterial, SimpleMaterial, empty_material
except ImportError as error:
    raise ImportError(f"Reading meshes needs trimesh and Pillow: pip install trimesh pillow ({error}).") from error


DEFAULT_COLOR = (200, 200, 200)


class AssetResolver(Resolver):
    """Finds the files a mesh names (material libraries, textures, buffers), and remembers which it could not use.

    trimesh swallows what goes wrong with a material, so it is noted here, in `failures`, one line each.

    Args:
        folder (`str`): Folder of the mesh, which the names are relative to. "" for the root.
        read (`Callable[[str], bytes | None]`):
            Content of a file by its normalised path, or None where there is none. Raises `PermissionError` where it
            may not be read, and another `OSError` where it is damaged.
    """

    def __init__(self, folder: str, read: Callable[[str], bytes | None]) -> None:
        self.folder = folder
        self.read = read
        self.failures: list[str] = []

    def get(self, key: str) -> bytes:
        # Exporters write options before the name (`-s 1 1 1 wood.png`) and paths of the author's own machine
        # (`C:\models\wood.png`): the file itself then often lies beside the mesh.
        name = re.sub(r"^(-\w+(\s+(on|off|[-+.\d]+))*\s+)+", "", key.strip()).replace("\\", "/")
        failure = f"file not found: {key}"
        for candidate in (name, posixpath.basename(name)):
            try:
                data = self.read(posixpath.normpath(posixpath.join(self.folder, candidate)))
                if data is not None and posixpath.splitext(candidate)[1].lower() in Image.registered_extensions():
                    check_image(Image.open(io.BytesIO(data)))  # the header only
            except PermissionError as error:
                failure = f"file may not be read: {key}; {error}"
                continue
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                self.failures.append(f"file not readable: {key}")
                raise FileNotFoundError(key) from error
            if data is not None:
                return data
        self.failures.append(failure)
        raise FileNotFoundError(key)

    def write(self, name: str, data: bytes) -> None:
        raise NotImplementedError("assets are only read")

    def namespaced(self, namespace: str) -> "AssetResolver":
        return AssetResolver(posixpath.join(self.folder, namespace), self.read)

    def keys(self) -> list[str]:
        return []


def load_mesh(path: Path) -> TexturedMesh | ColoredPoints:
    """Read a mesh file from the disk, with the materials and textures it names or, without any face, its vertices.

    Args:
        path (`Path`):
            A file in any format trimesh reads; its suffix says which. Files that it names are read from its own
            folder and those below, nowhere else.

    Raises:
        MeshError: It cannot be read, or has neither a surface nor a point.
    """
    folder = path.parent.resolve()

    def read(name: str) -> bytes | None:
        # By name alone: a link that lies in the folder (the Hub's cache is made of them) was put there on purpose.
        if not Path(name).is_relative_to(folder):
            raise PermissionError("only the mesh's own folder and those below are")
        return Path(name).read_bytes() if Path(name).is_file() else None

    with path.open("rb") as file:
        resolver = AssetResolver(folder.as_posix(), read)
        return _shape(*_read_scene(file, path.suffix[1:], resolver, str(path)), name=str(path))


def convert_shape(
    geometry: trimesh.Trimesh | trimesh.Scene | trimesh.PointCloud, name: str
) -> TexturedMesh | ColoredPoints:
    """What [`load_mesh`] gives of a file, of an object of trimesh's. It is left as it is.

    Args:
        geometry (`trimesh.Trimesh`, `trimesh.Scene` or `trimesh.PointCloud`): PBR materials are taken as glTF's.
        name (`str`): For messages.

    Raises:
        MeshError: It has neither a surface nor a point.
    """
    scene = geometry if isinstance(geometry, trimesh.Scene) else trimesh.Scene(geometry)
    return _shape(scene, None, [], name)


def read_mesh(file: BinaryIO, file_type: str, resolver: AssetResolver, name: str) -> TexturedMesh:
    """Read a mesh from an open file.

    Args:
        file (`BinaryIO`): The mesh's bytes.
        file_type (`str`): As trimesh names it: "obj", "glb", "ply" ...
        resolver (`AssetResolver`): Where the files it names are found.
        name (`str`): For messages: which mesh this is.

    Raises:
        MeshError: It cannot be read, or has no triangle of finite, non-zero area.
    """
    return _mesh(*_read_scene(file, file_type, resolver, name), name=name)


def _read_scene(
    file: BinaryIO, file_type: str, resolver: AssetResolver, name: str
) -> tuple[trimesh.Scene, str, list[str]]:
    """The file's content, its type in lower case, and a warning for each file it names that could not be used."""
    warnings = []
    try:
        if file_type.lower() in ("glb", "gltf"):
            warnings = check_gltf(file, file_type.lower(), resolver.get)
        # One geometry a material. Merging vertices ("process") would cost time and change nothing here.
        scene = trimesh.load_scene(
            file, file_type=file_type.lower(), resolver=resolver, process=False, group_material=True
        )
    except Exception as error:
        # The many readers behind trimesh raise errors of every kind on a damaged file.
        raise MeshError(f"{name}: cannot be read as '{file_type}' ({type(error).__name__}: {error}).") from error
    _check_color_range(scene, file, file_type.lower(), name)
    return scene, file_type.lower(), warnings + resolver.failures


def _check_color_range(scene: trimesh.Scene, file: BinaryIO, file_type: str, name: str) -> None:
    """Raise a [`MeshError`] for vertex or face colours beyond their range, which trimesh clips or wraps around."""
    found = []
    for geometry in scene.geometry.values():
        for element in geometry.metadata.get("_ply_raw", {}).values():
            found += [
                np.asarray(element["data"][key]) for key in ("red", "green", "blue") if key in element["properties"]
            ]
    if file_type == "obj" and any(map(_has_vertex_colors, scene.geometry.values())):
        file.seek(0)
        words = [line.split() for line in file if line.startswith(b"v ")]
        found.append(np.array([line[4:7] for line in words if len(line) >= 7], dtype=np.float64))
    for values in found:
        limit = 1 if values.dtype.kind == "f" else 255
        if values.size > 0 and not (values.min() >= 0 and values.max() <= limit):
            raise MeshError(
                f"{name}: colours from {values.min():g} to {values.max():g}, stored as {values.dtype}; expected "
                "floats in 0..1 or, in PLY, uchar in 0..255."
            )


def _geometries(scene: trimesh.Scene, name: str) -> list[tuple[np.ndarray, trimesh.parent.Geometry]]:
    """The geometries of a scene, each as often as it is placed, with its transform of shape `(4, 4)`."""
    placed = []
    for node in scene.graph.nodes_geometry:
        transform, geometry_name = scene.graph[node]
        placed.append((transform, scene.geometry[geometry_name]))
    # A small file can place one geometry often.
    found = sum(len(geometry.faces) for _, geometry in placed if isinstance(geometry, trimesh.Trimesh))
    if found > MAX_FACES:
        raise MeshError(f"{name}: {found:,} faces; at most {MAX_FACES:,} are read. Simplify the mesh.")
    return placed


def _place(vertices: np.ndarray, transform: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is the caller's to drop or report
        return np.asarray(vertices, dtype=np.float64) @ transform[:3, :3].T + transform[:3, 3]


def _shape(
    scene: trimesh.Scene, file_type: str | None, warnings: list[str], name: str
) -> TexturedMesh | ColoredPoints:
    """The scene's triangles or, where it has no face at all, its points."""
    placed = [
        (transform, geometry)
        for transform, geometry in _geometries(scene, name)
        if isinstance(geometry, (trimesh.Trimesh, trimesh.PointCloud))
    ]
    if any(isinstance(geometry, trimesh.Trimesh) and len(geometry.faces) > 0 for _, geometry in placed):
        return _mesh(scene, file_type, warnings, name)
    if sum(len(geometry.vertices) for _, geometry in placed) == 0:
        raise MeshError(f"{name}: no faces and no points; expected at least one triangle or point.")
    xyz = np.concatenate([_place(geometry.vertices, transform) for transform, geometry in placed])
    if not any(_has_vertex_colors(geometry) for _, geometry in placed):
        return ColoredPoints(xyz, None)
    rgb = [
        np.asarray(geometry.visual.vertex_colors)[:, :3]
        if _has_vertex_colors(geometry)
        else np.full((len(geometry.vertices), 3), DEFAULT_COLOR, dtype=np.uint8)
        for _, geometry in placed
    ]
    return ColoredPoints(xyz, np.concatenate(rgb))


def _has_vertex_colors(geometry: trimesh.parent.Geometry) -> bool:
    if not isinstance(geometry, (trimesh.Trimesh, trimesh.PointCloud)) or geometry.visual.kind != "vertex":
        return False
    return 0 < len(geometry.visual.vertex_colors) == len(geometry.vertices)


def _mesh(scene: trimesh.Scene, file_type: str | None, warnings: list[str], name: str) -> TexturedMesh:
    """The scene's triangles; `file_type` is None for one that was made or loaded by the caller."""
    warnings = list(warnings)
    textures: dict[int, np.ndarray | None] = {}
    parts = []
    found_faces = dropped_faces = 0
    for transform, geometry in _geometries(scene, name):
        if not isinstance(geometry, trimesh.Trimesh) or len(geometry.faces) == 0:
            continue  # line work and point clouds have no surface
        if not 0 <= geometry.faces.min() <= geometry.faces.max() < len(geometry.vertices):
            raise MeshError(f"{name}: a face names a vertex that does not exist (there are {len(geometry.vertices)}).")
        try:
            part = _read_part(geometry, transform, file_type, textures, warnings)
        except Exception as error:
            # trimesh hands on what files say of materials, of whatever type it is.
            raise MeshError(f"{name}: its materials cannot be read ({type(error).__name__}: {error}).") from error
        kept = np.isfinite(part.triangles).all(axis=(1, 2))
        found_faces += len(kept)
        dropped_faces += len(kept) - int(kept.sum())
        if not kept.all():
            uv = None if part.uv is None else part.uv[kept]
            part = replace(part, triangles=part.triangles[kept], corner_colors=part.corner_colors[kept], uv=uv)
        parts.append(part)
    if dropped_faces:
        warnings.append(f"{dropped_faces} of {found_faces} faces dropped: vertices that are not finite")
    with np.errstate(over="ignore", invalid="ignore"):  # an area that is not finite is reported below
        area = sum(float(triangle_areas(part.triangles).sum()) for part in parts)
    if not 0 < area < np.inf:
        raise MeshError(
            f"{name}: {found_faces} faces ({dropped_faces} of them with vertices that are not finite), area {area:g}; "
            "expected at least one triangle with an area."
        )
    return TexturedMesh(parts, list(dict.fromkeys(warnings)))


def _read_part(
    geometry: trimesh.Trimesh,
    transform: np.ndarray,
    file_type: str | None,
    textures: dict[int, np.ndarray | None],
    warnings: list[str],
) -> MeshPart:
    """One geometry of a scene; `textures` keeps what was decoded, by material, and `warnings` is added to."""
    faces = np.asarray(geometry.faces)
    triangles = _place(geometry.vertices, transform)[faces]

    visual = geometry.visual
    if visual.kind == "vertex":
        return MeshPart(triangles, np.asarray(visual.vertex_colors, dtype=np.uint8)[faces, :3])
    if visual.kind == "face":
        colors = np.asarray(visual.face_colors, dtype=np.uint8)
        return MeshPart(triangles, np.repeat(colors[:, None, :3], 3, axis=1))

    color, texture, uv = None, None, None
    if visual.kind == "texture":
        material = visual.material
        is_gltf = file_type in ("glb", "gltf") or (file_type is None and isinstance(material, PBRMaterial))
        color = _diffuse_color(material, is_gltf)
        image = material.baseColorTexture if isinstance(material, PBRMaterial) else material.image
        if image is not None and _is_placeholder(image):
            image = None
        # A texture without coordinates cannot be placed: the material's colour stands in.
        if image is not None and (visual.uv is None or len(visual.uv) != len(geometry.vertices)):
            warnings.append(f"texture without coordinates: material {material.name}")
        elif image is not None:
            if id(material) not in textures:
                # An image of the caller's is not ours to reduce in place, as a JPEG's decoding does.
                image = image.copy() if file_type is None else image
                textures[id(material)] = _read_texture(image, material, is_gltf, warnings)
            texture = textures[id(material)]
            uv = np.nan_to_num(np.asarray(visual.uv, dtype=np.float64)[:, :2], posinf=0.0, neginf=0.0)[faces]
    corner_colors = np.broadcast_to(
        np.array(DEFAULT_COLOR, dtype=np.uint8) if color is None else color, (len(faces), 3, 3)
    )
    is_colored = color is not None or texture is not None
    return MeshPart(triangles, corner_colors, texture, None if texture is None else uv, is_colored)


def _is_placeholder(image: Image.Image) -> bool:
    """Whether trimesh made the texture up, as it does for a file that has texture coordinates and no material."""
    placeholder = empty_material().image  # of no file, so of no format
    return image.format is None and image.size == placeholder.size and image.tobytes() == placeholder.tobytes()


def _diffuse_color(material: Any, is_gltf: bool) -> np.ndarray | None:
    """The material's own colour, uint8 of shape `(3,)`, whatever its texture; None if it has none."""
    if isinstance(material, PBRMaterial) and material.baseColorFactor is not None:
        factor = np.asarray(material.baseColorFactor, dtype=np.uint8)[:3]
        return linear_to_srgb(factor / 255) if is_gltf else factor
    if isinstance(material, SimpleMaterial) and "kd" in material.kwargs:
        diffuse = material.kwargs["kd"]
        if np.shape(diffuse) == (3,) and np.isfinite(diffuse).all():
            return np.round(np.clip(diffuse, 0, 1) * 255).astype(np.uint8)
    # trimesh gives a material without a colour this one.
    elif isinstance(material, SimpleMaterial) and not np.array_equal(
        material.diffuse, trimesh.visual.color.DEFAULT_COLOR
    ):
        return np.asarray(material.diffuse, dtype=np.uint8)[:3]
    return None


def _read_texture(image: Image.Image, material: Any, is_gltf: bool, warnings: list[str]) -> np.ndarray | None:
    """Texels as [`MeshPart`] wants them, or None and a warning for a damaged image."""
    try:
        texture = texture_to_rgba(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow opens lazily, so damage shows only here; its PNG reader raises SyntaxError.
        warnings.append(f"texture cannot be read: material {material.name} ({error})")
        return None
    if is_gltf:
        if material.baseColorFactor is not None:
            factor = np.asarray(material.baseColorFactor, dtype=np.float64)[:3] / 255
            texture[..., :3] = linear_to_srgb(srgb_to_linear(texture[..., :3] / 255) * factor)
        if material.alphaMode not in ("MASK", "BLEND"):
            texture[..., 3] = 255
    return texture
