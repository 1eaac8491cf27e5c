"""Read a mesh file of any format trimesh knows into textured triangles.

What trimesh returns differs by format (simple and PBR materials, vertex colours, no visual at all) and hides some
mishaps (a texture that is not there is a debug message). Here all of it becomes one plain form: a [`TexturedMesh`]
of parts whose colours need no further rules, with a warning for whatever had to be replaced.

Colours follow each format's convention. Wavefront OBJ: a texture replaces the diffuse colour Kd (a black Kd under a
texture must not blacken it). glTF: the base colour factor, which is linear, multiplies the texture. A material that
says nothing is light grey.
"""

import io
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import trimesh
from PIL import Image
from trimesh.resolvers import Resolver
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from ..errors import UserError


DEFAULT_COLOR = (200, 200, 200)
# Beyond this many texels a side a texture holds more detail than ten thousand surface points can show.
MAX_TEXTURE_SIZE = 1024


class MeshError(UserError):
    """A mesh that cannot be used: unreadable, or without any surface. The message names the file."""


@dataclass(frozen=True)
class MeshPart:
    """Triangles that are coloured in one way: by a texture where there is one, else by their corners.

    Args:
        triangles (`np.ndarray` of shape `(num_faces, 3, 3)`): float64 corner positions, in the file's own unit.
        corner_colors (`np.ndarray` of shape `(num_faces, 3, 3)`): uint8 sRGB of each corner.
        texture (`np.ndarray` of shape `(height, width, 4)`, *optional*):
            uint8 sRGB and opacity, top row first. Opacity is for cut-outs only: glass is a surface like any other.
        uv (`np.ndarray` of shape `(num_faces, 3, 2)`, *optional*):
            Texture coordinates of each corner, (0, 0) the texture's lower left; there whenever `texture` is.
    """

    triangles: np.ndarray
    corner_colors: np.ndarray
    texture: np.ndarray | None = None
    uv: np.ndarray | None = None


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh as parts, and what had to be replaced to read it (missing textures, broken faces), one line each."""

    parts: list[MeshPart]
    warnings: list[str] = field(default_factory=list)

    def rotated(self, rotation: np.ndarray) -> "TexturedMesh":
        """The mesh with `rotation`, of shape `(3, 3)`, applied to every position."""
        return replace(self, parts=[replace(part, triangles=part.triangles @ rotation.T) for part in self.parts])


class AssetResolver(Resolver):
    """Finds the files a mesh names (material libraries, textures, buffers), and remembers which it could not use.

    trimesh swallows what goes wrong with a material, so it is noted here, in `failures`, one line each.

    Args:
        folder (`str`): Folder of the mesh, which the names are relative to. "" for the root.
        read (`Callable[[str], bytes | None]`): Content of a file by its normalised path, or None where there is none.
    """

    def __init__(self, folder: str, read: Callable[[str], bytes | None]) -> None:
        self.folder = folder
        self.read = read
        self.failures: list[str] = []

    def get(self, key: str) -> bytes:
        # Exporters write options before the name (`-s 1 1 1 wood.png`) and paths of the author's own machine
        # (`C:\models\wood.png`): the file itself then often lies beside the mesh.
        name = re.sub(r"^(-\w+(\s+(on|off|[-+.\d]+))*\s+)+", "", key.strip()).replace("\\", "/")
        for candidate in (name, posixpath.basename(name)):
            try:
                data = self.read(posixpath.normpath(posixpath.join(self.folder, candidate)))
                if data is not None and posixpath.splitext(candidate)[1].lower() in Image.registered_extensions():
                    Image.open(io.BytesIO(data))  # the header only
            except (UserError, OSError, ValueError, SyntaxError) as error:
                self.failures.append(f"file not readable: {key}")
                raise FileNotFoundError(key) from error
            if data is not None:
                return data
        self.failures.append(f"file not found: {key}")
        raise FileNotFoundError(key)

    def write(self, name: str, data: bytes) -> None:
        raise NotImplementedError("assets are only read")

    def namespaced(self, namespace: str) -> "AssetResolver":
        return AssetResolver(posixpath.join(self.folder, namespace), self.read)

    def keys(self) -> list[str]:
        return []


def load_mesh(path: str | Path) -> TexturedMesh:
    """Read a mesh file from the disk, with the materials and textures it names.

    Args:
        path (`str` or `Path`): A file in any format trimesh reads; its suffix says which.

    Raises:
        MeshError: There is no such file, it cannot be read, or it has no surface.
    """
    path = Path(path)
    if not path.is_file():
        raise MeshError(f"{path}: no such file.")

    def read(name: str) -> bytes | None:
        return Path(name).read_bytes() if Path(name).is_file() else None

    with path.open("rb") as file:
        return read_mesh(file, path.suffix[1:], AssetResolver(path.parent.as_posix(), read), str(path))


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
    try:
        # One geometry a material. Merging vertices ("process") would cost time and change nothing here.
        scene = trimesh.load_scene(
            file, file_type=file_type.lower(), resolver=resolver, process=False, group_material=True
        )
    except Exception as error:
        # The many readers behind trimesh raise errors of every kind on a damaged file.
        raise MeshError(f"{name}: cannot be read as '{file_type}' ({type(error).__name__}: {error}).") from error

    warnings = list(resolver.failures)
    is_gltf = file_type.lower() in ("glb", "gltf")
    textures: dict[int, np.ndarray | None] = {}
    parts = []
    found_faces = dropped_faces = 0
    for node in scene.graph.nodes_geometry:
        transform, geometry_name = scene.graph[node]
        geometry = scene.geometry[geometry_name]
        if not isinstance(geometry, trimesh.Trimesh) or len(geometry.faces) == 0:
            continue  # line work and point clouds have no surface
        part = _read_part(geometry, transform, is_gltf, textures, warnings)
        kept = np.isfinite(part.triangles).all(axis=(1, 2))
        found_faces += len(kept)
        dropped_faces += len(kept) - int(kept.sum())
        if not kept.all():
            part = MeshPart(
                part.triangles[kept],
                part.corner_colors[kept],
                part.texture,
                None if part.uv is None else part.uv[kept],
            )
        parts.append(part)
    if dropped_faces:
        warnings.append(f"{dropped_faces} of {found_faces} faces dropped: vertices that are not finite")
    area = sum(float(triangle_areas(part.triangles).sum()) for part in parts)
    if not 0 < area < np.inf:
        raise MeshError(
            f"{name}: {found_faces} faces ({dropped_faces} of them with vertices that are not finite), area {area:g}; "
            "expected at least one triangle with an area."
        )
    return TexturedMesh(parts, list(dict.fromkeys(warnings)))


def triangle_areas(triangles: np.ndarray) -> np.ndarray:
    """Areas, of shape `(num_faces,)`, of triangles of shape `(num_faces, 3, 3)`."""
    edges = triangles[:, 1:] - triangles[:, :1]
    return np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1) / 2


def _read_part(
    geometry: trimesh.Trimesh,
    transform: np.ndarray,
    is_gltf: bool,
    textures: dict[int, np.ndarray | None],
    warnings: list[str],
) -> MeshPart:
    """One geometry of a scene; `textures` keeps what was decoded, by material, and `warnings` is added to."""
    faces = np.asarray(geometry.faces)
    vertices = np.asarray(geometry.vertices, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # vertices that are not finite are dropped by the caller
        triangles = (vertices @ transform[:3, :3].T + transform[:3, 3])[faces]

    visual = geometry.visual
    if visual.kind == "vertex":
        return MeshPart(triangles, np.asarray(visual.vertex_colors, dtype=np.uint8)[faces, :3])
    if visual.kind == "face":
        colors = np.asarray(visual.face_colors, dtype=np.uint8)
        return MeshPart(triangles, np.repeat(colors[:, None, :3], 3, axis=1))

    color, texture, uv = np.array(DEFAULT_COLOR, dtype=np.uint8), None, None
    if visual.kind == "texture":
        material = visual.material
        color = _diffuse_color(material, is_gltf)
        image = material.baseColorTexture if isinstance(material, PBRMaterial) else material.image
        # A texture without coordinates cannot be placed: the material's colour stands in.
        if image is not None and (visual.uv is None or len(visual.uv) != len(vertices)):
            warnings.append(f"texture without coordinates: material {material.name}")
        elif image is not None:
            if id(material) not in textures:
                textures[id(material)] = _read_texture(image, material, is_gltf, warnings)
            texture = textures[id(material)]
            uv = np.nan_to_num(np.asarray(visual.uv, dtype=np.float64)[:, :2], posinf=0.0, neginf=0.0)[faces]
    corner_colors = np.broadcast_to(color, (len(faces), 3, 3))
    return MeshPart(triangles, corner_colors, texture, None if texture is None else uv)


def _diffuse_color(material: Any, is_gltf: bool) -> np.ndarray:
    """The material's own colour, uint8 of shape `(3,)`, whatever its texture."""
    if isinstance(material, SimpleMaterial):
        # Not `material.diffuse`: trimesh makes it dark grey where the file has no Kd.
        diffuse = material.kwargs.get("kd")
        if np.shape(diffuse) == (3,) and np.isfinite(diffuse).all():
            return np.round(np.clip(diffuse, 0, 1) * 255).astype(np.uint8)
    elif isinstance(material, PBRMaterial) and material.baseColorFactor is not None:
        factor = np.asarray(material.baseColorFactor, dtype=np.uint8)[:3]
        return _linear_to_srgb(factor / 255) if is_gltf else factor
    return np.array(DEFAULT_COLOR, dtype=np.uint8)


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
            texture[..., :3] = _linear_to_srgb(_srgb_to_linear(texture[..., :3]) * factor)
        if material.alphaMode not in ("MASK", "BLEND"):
            texture[..., 3] = 255
    return texture


def texture_to_rgba(image: Image.Image) -> np.ndarray:
    """Pixels of an image of any Pillow mode as uint8 RGBA of shape `(height, width, 4)`.

    Grey-scale of 16 bits is scaled down to 8. The longer side is reduced to `MAX_TEXTURE_SIZE`.
    """
    image.draft(None, (MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))  # JPEG decodes straight to about the size needed
    if image.mode == "F":
        image = Image.fromarray(np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8))
    elif image.mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image).astype(np.int64), 0, 65535) // 257).astype(np.uint8))
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    image = image.convert("RGBA")
    image.thumbnail((MAX_TEXTURE_SIZE, MAX_TEXTURE_SIZE))
    return np.array(image)


def _srgb_to_linear(color: np.ndarray) -> np.ndarray:
    scaled = color / 255
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    scaled = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)
    return np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
