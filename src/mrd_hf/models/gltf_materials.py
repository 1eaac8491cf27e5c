"""Colours of glTF materials: factors, textures, their coordinates, wrapping and cut-outs.

The base colour is factor times texture times vertex colour, multiplied in linear light, and then sRGB. Light and
reflection are left out, so that specular-glossiness counts by its diffuse colour.

Source: the glTF 2.0 specification, section 3.9 (materials), KHR_texture_transform, EXT_texture_webp,
KHR_materials_pbrSpecularGlossiness.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .gltf_document import GltfDocument
from .shape_colors import linear_to_srgb, srgb_to_linear
from .shapes import Wrap
from .textures import decode_texture


SPECULAR_GLOSSINESS = "KHR_materials_pbrSpecularGlossiness"
TRANSFORM = "KHR_texture_transform"
BASIS = "KHR_texture_basisu"
# Other encodings of a texture's image that Pillow reads, best first.
IMAGE_EXTENSIONS = ("EXT_texture_webp", "EXT_texture_avif", "MSFT_texture_dds")
WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror", 10497: "repeat"}
# The opacity from which a point is no hole, see `MIN_OPACITY` of surface_sampling.py, as a share of 255.
OPAQUE_FROM = 128 / 255


@dataclass(frozen=True)
class Surface:
    """What a material makes of a surface.

    Args:
        factor (`np.ndarray` of shape `(4,)`): Linear RGB, and opacity, in 0..1.
        texture (`np.ndarray` of shape `(height, width, 4)`, *optional*): uint8 sRGB and opacity, the factor in it.
        uv_set (`int`): Which `TEXCOORD_n` the texture is placed by.
        uv_transform (`np.ndarray` of shape `(3, 3)`): Of texture coordinates, as columns (u, v, 1).
        wrap (pair of `Wrap`): How the texture goes on beyond its edges, in u and v.
        alpha (`"opaque"`, `"cut"` or `"blend"`): What opacity means.
        cutoff (`float`): Below it a point is a hole, where it is cut.
        is_colored (`bool`): Whether the file says a colour; else white is the specification's.
    """

    factor: np.ndarray
    texture: np.ndarray | None = None
    uv_set: int = 0
    uv_transform: np.ndarray = field(default_factory=lambda: np.eye(3))
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    alpha: str = "opaque"
    cutoff: float = 0.5
    is_colored: bool = True


WHITE = Surface(np.ones(4), is_colored=False)


class GltfMaterials:
    """The surfaces of a file's materials; each texture is decoded once.

    Args:
        document (`GltfDocument`)
        warnings (list of `str`): Gets a line for each texture that cannot be used.
    """

    def __init__(self, document: GltfDocument, warnings: list[str]) -> None:
        self.document = document
        self.warnings = warnings
        self._surfaces: dict[int, Surface] = {}
        self._images: dict[int, np.ndarray | None] = {}

    def surface(self, index: Any) -> Surface:
        """The surface of a material; white without one, as the specification has it."""
        if index is None:
            return WHITE
        if index not in self._surfaces:
            self._surfaces[index] = self._read(self.document.item("materials", index))
        return self._surfaces[index]

    def _read(self, material: dict[str, Any]) -> Surface:
        extensions = material.get("extensions") or {}
        gloss = extensions.get(SPECULAR_GLOSSINESS)
        if gloss is not None:
            factor, reference = gloss.get("diffuseFactor"), gloss.get("diffuseTexture")
        else:
            metallic = material.get("pbrMetallicRoughness") or {}
            factor, reference = metallic.get("baseColorFactor"), metallic.get("baseColorTexture")
        color = np.ones(4) if factor is None else _numbers(factor, 4, "a base colour factor")
        mode = {"MASK": "cut", "BLEND": "blend"}.get(material.get("alphaMode", "OPAQUE"), "opaque")
        cutoff = float(material.get("alphaCutoff", 0.5))
        surface = Surface(color, alpha=mode, cutoff=cutoff, is_colored=factor is not None or reference is not None)
        if reference is None:
            return surface
        try:
            texels, wrap = self._texture(reference.get("index"))
        except ValueError as error:  # it names what does not exist
            self.warnings.append(f"texture cannot be read: {error}")
            texels = None
        if texels is None:
            return surface
        transform = (reference.get("extensions") or {}).get(TRANSFORM) or {}
        return Surface(
            color,
            _shaded(texels, surface),
            transform.get("texCoord", reference.get("texCoord", 0)),
            _uv_transform(transform),
            wrap,
            mode,
            cutoff,
        )

    def _texture(self, index: Any) -> tuple[np.ndarray | None, tuple[Wrap, Wrap]]:
        texture = self.document.item("textures", index)
        sampler = self.document.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        wrap = (WRAPS.get(sampler.get("wrapS", 10497), "repeat"), WRAPS.get(sampler.get("wrapT", 10497), "repeat"))
        extensions = texture.get("extensions") or {}
        sources = [extensions[name].get("source") for name in IMAGE_EXTENSIONS if name in extensions]
        sources.append(texture.get("source"))
        for source in sources:
            if source is not None:
                texels = self._image(source)
                if texels is not None:
                    return texels, wrap
        if BASIS in extensions:
            self.warnings.append(f"texture {index} is not read: it is stored as {BASIS} (KTX2)")
        elif all(source is None for source in sources):
            self.warnings.append(f"texture {index} is not read: it names no image")
        return None, wrap

    def _image(self, index: Any) -> np.ndarray | None:
        """Texels, or None and a warning."""
        if index not in self._images:
            self._images[index] = None
            image = self.document.item("images", index)
            name = f"image {index} inside the file" + (f", {image['name']}" if image.get("name") else "")
            try:
                if "uri" in image:
                    if not image["uri"].startswith("data:"):
                        name = image["uri"]
                    data: Any = self.document.content(image["uri"])
                else:
                    data = self.document.buffer_view(image.get("bufferView"))
            except (FileNotFoundError, ValueError) as error:
                missing = isinstance(error, FileNotFoundError)
                self.warnings.append(str(error) if missing else f"texture cannot be read: {name} ({error})")
            else:
                self._images[index] = decode_texture(data, name, self.warnings)
        return self._images[index]


def corner_tints(surface: Surface, colors: np.ndarray | None) -> np.ndarray | None:
    """What corners multiply the texture with, or are coloured by where there is none; None for nothing.

    Args:
        surface (`Surface`)
        colors (`np.ndarray` of shape `(..., 3 or 4)`, *optional*): Linear vertex colours in 0..1.

    Returns:
        `np.ndarray` of shape `(..., 4)`: Linear RGB, and an opacity of which `OPAQUE_FROM` is where holes end.
    """
    if colors is None and surface.texture is not None:
        return None
    if colors is None:
        colors = np.ones((1, 1, 4), dtype=np.float32)
    tints = np.ones((*colors.shape[:-1], 4), dtype=np.float32)
    tints[..., : colors.shape[-1]] = np.clip(colors, 0, 1)
    if surface.texture is None:
        tints *= surface.factor.astype(np.float32)
        tints[..., 3] = _opacity(tints[..., 3], surface)
    elif surface.alpha == "blend":
        tints[..., 3] = (tints[..., 3] > 0) * 1e6  # the texture's own is 0 or 255
    elif surface.alpha == "opaque":
        tints[..., 3] = 1
    return tints


def _shaded(texels: np.ndarray, surface: Surface) -> np.ndarray:
    """The texture with the factor in it, and its opacity as `corner_tints` has it."""
    factor = surface.factor
    shaded = texels.copy() if surface.alpha != "opaque" or not np.all(factor[:3] == 1) else texels
    if not np.all(factor[:3] == 1):
        # Of the 256 values that a texel may have.
        levels = srgb_to_linear(np.arange(256) / 255)
        for channel in range(3):
            shaded[..., channel] = linear_to_srgb(levels * factor[channel])[texels[..., channel]]
    if surface.alpha == "opaque":
        if not np.all(texels[..., 3] == 255):
            shaded = shaded.copy() if shaded is texels else shaded
            shaded[..., 3] = 255
    else:
        levels = _opacity(np.arange(256) / 255 * factor[3], surface)
        shaded[..., 3] = np.round(np.clip(levels, 0, 1) * 255).astype(np.uint8)[texels[..., 3]]
    return shaded


def _opacity(alpha: np.ndarray, surface: Surface) -> np.ndarray:
    """Opacity of which `OPAQUE_FROM` is where holes end: by the cutoff, or of what blends only what is invisible."""
    if surface.alpha == "opaque":
        return np.ones_like(alpha)
    if surface.alpha == "blend":
        return (alpha > 0).astype(alpha.dtype)
    return alpha * (OPAQUE_FROM / surface.cutoff) if surface.cutoff > 0 else np.ones_like(alpha)


def _uv_transform(transform: dict[str, Any]) -> np.ndarray:
    offset = _numbers(transform.get("offset", (0, 0)), 2, f"{TRANSFORM}'s offset")
    scale = _numbers(transform.get("scale", (1, 1)), 2, f"{TRANSFORM}'s scale")
    angle = float(transform.get("rotation", 0.0))
    cosine, sine = np.cos(angle), np.sin(angle)
    moved = np.array([[1, 0, offset[0]], [0, 1, offset[1]], [0, 0, 1]], dtype=np.float64)
    turned = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    return moved @ turned @ np.diag([*scale, 1.0])


def _numbers(values: Any, count: int, name: str) -> np.ndarray:
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} is {values!r}; expected {count} numbers")
    return numbers
