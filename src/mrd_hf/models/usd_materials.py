"""Colours of USD: diffuse colours and textures of UsdPreviewSurface, and primvars such as displayColor.

All numbers are linear, as in glTF; textures are sRGB unless their sourceColorSpace is raw.

Source: the UsdPreviewSurface specification 2.6.
"""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .shape_colors import linear_to_srgb
from .shape_limits import ShapeBudget
from .shapes import Wrap
from .textures import Textures
from .usd_layers import load_usd


# The diffuse colour where a surface does not say it.
DEFAULT_DIFFUSE = (0.18, 0.18, 0.18)
WRAPS: dict[str, Wrap] = {"repeat": "repeat", "mirror": "mirror", "clamp": "clamp", "black": "clamp"}


@dataclass(frozen=True)
class UsdLook:
    """How a surface looks.

    Args:
        color (`np.ndarray` of shape `(3,)`): Linear. Of a texture, its scale.
        texels (`np.ndarray` of shape `(height, width, 4)`, *optional*): See `MeshPart`.
        coordinates (`str`): The primvar with the texture's coordinates.
        transform (`np.ndarray` of shape `(2, 3)`): Of these, as columns.
        wrap (pair of `Wrap`)
        primvar (`str`, *optional*): The primvar with the colour, instead of `color`.
    """

    color: np.ndarray
    texels: np.ndarray | None = None
    coordinates: str = "st"
    transform: np.ndarray | None = None
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    primvar: str | None = None


class UsdMaterials:
    """Looks of materials, each read once.

    Args:
        folder (`Path`): Where the scene's files are.
        get (`Callable[[str], bytes]`): Content of a file by its path in that folder. Raises `FileNotFoundError`.
        time (`Usd.TimeCode`)
        warnings (list of `str`): Gets what cannot be read.
        budget (`ShapeBudget`): What the file may hold.
    """

    def __init__(
        self, folder: Path, get: Callable[[str], bytes], time: Any, warnings: list[str], budget: ShapeBudget
    ) -> None:
        self.folder = folder
        self.get = get
        self.time = time
        self.warnings = warnings
        self._pictures = Textures(budget, warnings)
        self._looks: dict[str, UsdLook | None] = {}
        self._textures: dict[str, np.ndarray | None] = {}
        self._shown: dict[tuple, np.ndarray] = {}  # by where the texels lie first

    def look(self, prim: Any) -> UsdLook | None:
        """How the material looks that is bound to a mesh or a subset of it; None where there is none that is read."""
        pxr = load_usd()
        binding, tokens = pxr.UsdShade.MaterialBindingAPI(prim), pxr.UsdShade.Tokens
        # Each of them, if there is none of its purpose, is the one that is bound for all.
        material = binding.ComputeBoundMaterial(tokens.preview)[0] or binding.ComputeBoundMaterial(tokens.full)[0]
        if not material:
            return None
        path = str(material.GetPath())
        if path not in self._looks:
            self._looks[path] = self._read(material)
        return self._looks[path]

    def _read(self, material: Any) -> UsdLook | None:
        surface = material.ComputeSurfaceSource()[0]
        if not surface or surface.GetIdAttr().Get() != "UsdPreviewSurface":
            self.warnings.append(f"material without UsdPreviewSurface left out: {material.GetPath().name}")
            return None
        source = self._source(surface, "diffuseColor")
        if source is None:
            return UsdLook(np.array(DEFAULT_DIFFUSE))
        shader, value = source
        if shader is None:
            return UsdLook(np.array(value, dtype=np.float64))
        kind = shader.GetIdAttr().Get()
        if kind == "UsdPrimvarReader_float3":
            name = self._value(shader, "varname", "displayColor")
            return UsdLook(np.array(self._value(shader, "fallback", DEFAULT_DIFFUSE), np.float64), primvar=str(name))
        if kind != "UsdUVTexture":
            self.warnings.append(f"shader {kind} left out: material {material.GetPath().name}")
            return None
        return self._textured(shader, surface)

    def _textured(self, shader: Any, surface: Any) -> UsdLook:
        scale = np.array(self._value(shader, "scale", (1, 1, 1, 1)), dtype=np.float64)[:3]
        look = UsdLook(scale, wrap=(self._wrap(shader, "wrapS"), self._wrap(shader, "wrapT")))
        if np.any(np.array(self._value(shader, "bias", (0, 0, 0, 0)))[:3]):
            self.warnings.append(f"bias of a texture left out: {shader.GetPath().name}")
        texels = self._texels(shader)
        if texels is None:
            fallback = np.array(self._value(shader, "fallback", (*DEFAULT_DIFFUSE, 1)), dtype=np.float64)[:3]
            return replace(look, color=fallback)
        is_raw = self._value(shader, "sourceColorSpace", "auto") == "raw"
        opacity, threshold = self._source(surface, "opacity"), None
        if opacity is not None and opacity[0] is not None and opacity[0].GetPath() == shader.GetPath():
            threshold = float(self._value(surface, "opacityThreshold", 0.0))
        name, transform = self._coordinates(shader)
        return replace(look, texels=self._as_shown(texels, is_raw, threshold), coordinates=name, transform=transform)

    def _as_shown(self, texels: np.ndarray, is_raw: bool, threshold: float | None) -> np.ndarray:
        """A texture as surfaces show it; `threshold` is of its own opacity, and None where that does not count."""
        key = (id(texels), is_raw, threshold)
        if key not in self._shown:
            if is_raw or threshold is not None or texels[..., 3].min(initial=255) < 255:
                texels = self._pictures.copied(texels)
                if is_raw:
                    texels[..., :3] = linear_to_srgb(texels[..., :3] / 255)
                shown: Any = True
                if threshold is not None:
                    shown = texels[..., 3] >= threshold * 255 if threshold > 0 else texels[..., 3] > 0
                texels[..., 3] = np.where(shown, 255, 0)
            self._shown[key] = texels
        return self._shown[key]

    def _coordinates(self, shader: Any) -> tuple[str, np.ndarray | None]:
        """The primvar with the texture's coordinates, and what is done to them."""
        transform = None
        source = self._source(shader, "st")
        for _ in range(8):
            if source is None or source[0] is None:
                break
            reader = source[0]
            kind = reader.GetIdAttr().Get()
            if kind == "UsdPrimvarReader_float2":
                return str(self._value(reader, "varname", "st")), transform
            if kind != "UsdTransform2d":
                break
            angle = np.radians(float(self._value(reader, "rotation", 0.0)))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            scaled = turn * np.array(self._value(reader, "scale", (1, 1)), dtype=np.float64)
            moved = np.array(self._value(reader, "translation", (0, 0)), dtype=np.float64)
            here = np.column_stack([scaled, moved])
            if transform is not None:
                here = np.column_stack([transform[:, :2] @ scaled, transform[:, :2] @ moved + transform[:, 2]])
            transform = here
            source = self._source(reader, "in")
        return "st", transform

    def _source(self, shader: Any, name: str) -> tuple[Any, Any] | None:
        """What an input is connected to, `(shader, None)`, or its value, `(None, value)`; None for neither."""
        pxr = load_usd()
        given = shader.GetInput(name)
        if not given:
            return None
        attributes = pxr.UsdShade.Utils.GetValueProducingAttributes(given)
        if not attributes:
            return None
        attribute = attributes[0]
        if pxr.UsdShade.Output.IsOutput(attribute):
            return pxr.UsdShade.Shader(attribute.GetPrim()), None
        value = attribute.Get(self.time)
        return None if value is None else (None, value)

    def _value(self, shader: Any, name: str, default: Any) -> Any:
        source = self._source(shader, name)
        return default if source is None or source[1] is None else source[1]

    def _wrap(self, shader: Any, name: str) -> Wrap:
        return WRAPS.get(str(self._value(shader, name, "repeat")), "repeat")

    def _texels(self, shader: Any) -> np.ndarray | None:
        pxr = load_usd()
        attributes = pxr.UsdShade.Utils.GetValueProducingAttributes(shader.GetInput("file"))
        asset = attributes[0].Get(self.time) if attributes else None
        stack = attributes[0].GetPropertyStack() if attributes else None
        if asset is None or not stack:
            self.warnings.append(f"texture without a file: {shader.GetPath().name}")
            return None
        beside = Path(stack[0].layer.realPath).relative_to(self.folder).parent.as_posix()
        name = asset.path.replace("\\", "/")
        if "<UDIM>" in name:
            self.warnings.append("of a texture in UDIM tiles, the first is read")
            name = name.replace("<UDIM>", "1001")
        path = posixpath.normpath(posixpath.join(beside, name))
        if path not in self._textures:
            try:
                self._textures[path] = self._pictures.decode(self.get(path), name)
            except FileNotFoundError as error:
                self.warnings.append(str(error))
                self._textures[path] = None
        return self._textures[path]
