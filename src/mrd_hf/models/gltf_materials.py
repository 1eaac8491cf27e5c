"""Colours of glTF materials: factors, textures, their coordinates, wrapping and cut-outs.

The base colour is factor times texture times vertex colour, multiplied in linear light, and then sRGB. Light and
reflection are left out, so that specular-glossiness counts by its diffuse colour. Of what is black, and would be so in
any light, what viewers show counts: the specular colour of a metal in specular-glossiness, or what it emits, as many
exporters write materials without light.

Source: the glTF 2.0 specification, section 3.9 (materials), KHR_texture_transform, EXT_texture_webp,
KHR_materials_pbrSpecularGlossiness, KHR_materials_unlit, KHR_texture_basisu.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .gltf_document import GltfDocument
from .gltf_extensions import BASIS, IMAGE_EXTENSIONS, SPECULAR_GLOSSINESS, TRANSFORM
from .shape_colors import linear_to_srgb, srgb_to_linear
from .shapes import Wrap
from .textures import Textures


# The last two are OpenGL's, which some exporters write.
WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror", 10497: "repeat", 10496: "clamp", 33069: "clamp"}
UNLIT = "KHR_materials_unlit"
# Of linear light; what is no brighter is black.
BLACK = 0.01
# What is no metal reflects less than this of the light that falls on it straight.
METAL = 0.1
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
        wrap (pair of `Wrap`): Wrap mode of the texture, in u and v.
        alpha (`"opaque"`, `"cut"` or `"blend"`): What opacity means.
        cutoff (`float`): Below it a point is a hole, where it is cut.
        is_colored (`bool`): Whether the file says a colour; else white is the specification's.
        takes_vertex_colors (`bool`): Whether vertex colours multiply it.
    """

    factor: np.ndarray
    texture: np.ndarray | None = None
    uv_set: int = 0
    uv_transform: np.ndarray = field(default_factory=lambda: np.eye(3))
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    alpha: str = "opaque"
    cutoff: float = 0.5
    is_colored: bool = True
    takes_vertex_colors: bool = True

    @cached_property
    def shown(self) -> tuple[np.ndarray | None, np.ndarray]:
        """Of corners without vertex colours: what [`corner_tints`] gives, and it as sRGB, for all parts of it."""
        tint = corner_tints(self, None)
        return tint, linear_to_srgb(np.ones(3) if tint is None else tint[..., :3])


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
        # By the index of the image, and by where its content is, as many may name one.
        self._images: dict[int, np.ndarray | None] = {}
        self._pictures: dict[int | str, np.ndarray | None] = {}
        self._textures = Textures(document.budget, warnings)
        # By what makes them, where the texels lie first; and whether they are black, by where they lie.
        self._shaded: dict[tuple, np.ndarray] = {}
        self._black: dict[int, bool] = {}

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
        base = self._surface(material, np.ones(4) if factor is None else _color(factor), reference)
        base = replace(base, is_colored=factor is not None or reference is not None)
        other, reference_of_other = _color_of_metal(gloss), (gloss or {}).get("specularGlossinessTexture")
        if other is None and UNLIT not in extensions:
            other, reference_of_other = _color_of_light(material), material.get("emissiveTexture")
        if other is None or not self._is_black(base):
            return base
        # The opacity is the base colour's; another texture's fourth channel means something else, or nothing.
        opacity = base.factor[3] if base.texture is None or base.alpha == "opaque" else 1.0
        same = (reference or {}).get("index") == (reference_of_other or {}).get("index", -1)
        surface = self._surface(material, np.append(other, opacity), reference_of_other, has_opacity=same)
        return replace(surface, takes_vertex_colors=False)

    def _surface(
        self, material: dict[str, Any], color: np.ndarray, reference: dict[str, Any] | None, has_opacity: bool = True
    ) -> Surface:
        """A surface of a colour, `(4,)`, and a reference to a texture, whose opacity counts or does not."""
        mode = {"MASK": "cut", "BLEND": "blend"}.get(material.get("alphaMode", "OPAQUE"), "opaque")
        cutoff = float(material.get("alphaCutoff", 0.5))
        if mode == "cut" and cutoff <= 0:
            mode = "opaque"
        surface = Surface(color, alpha=mode, cutoff=cutoff)
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
        return replace(
            surface,
            texture=self._kept(texels, surface, has_opacity),
            uv_set=transform.get("texCoord", reference.get("texCoord", 0)),
            uv_transform=_uv_transform(transform),
            wrap=wrap,
        )

    def _kept(self, texels: np.ndarray, surface: Surface, has_opacity: bool) -> np.ndarray:
        """The texture as the surface shows it; where materials make many of one, in less detail."""
        key = (id(texels), surface.factor.tobytes(), surface.alpha, has_opacity)
        if key not in self._shaded:
            texels = self._textures.fitting(texels)
            if not has_opacity and texels[..., 3].min(initial=255) < 255:
                texels = texels.copy()
                texels[..., 3] = 255
            shaded = _shaded(texels, surface)
            self.document.budget.take("texels", texels.size // 4 if shaded is not texels else 0)
            self._shaded[key] = shaded
        return self._shaded[key]

    def _is_black(self, surface: Surface) -> bool:
        if surface.texture is None:
            return bool(surface.factor[:3].max() <= BLACK)
        place = id(surface.texture)
        if place not in self._black:
            self._black[place] = bool(surface.texture[..., :3].max() <= linear_to_srgb(np.array(BLACK)))
        return self._black[place]

    def _texture(self, index: Any) -> tuple[np.ndarray | None, tuple[Wrap, Wrap]]:
        texture = self.document.item("textures", index)
        sampler = self.document.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        wrap = (WRAPS.get(sampler.get("wrapS", 10497), "repeat"), WRAPS.get(sampler.get("wrapT", 10497), "repeat"))
        extensions = texture.get("extensions") or {}
        sources = [extensions[name].get("source") for name in IMAGE_EXTENSIONS if name in extensions]
        sources.append(texture.get("source"))
        sources.append(extensions.get(BASIS, {}).get("source"))  # last, as it needs a package and is of less detail
        for source in sources:
            if source is not None:
                texels = self._image(source)
                if texels is not None:
                    return texels, wrap
        if all(source is None for source in sources):
            self.warnings.append(f"texture {index} is not read: it names no image")
        return None, wrap

    def _image(self, index: Any) -> np.ndarray | None:
        """Texels, or None and a warning."""
        if index not in self._images:
            self._images[index] = None
            image = self.document.item("images", index)
            place: Any = image.get("uri", image.get("bufferView"))
            if isinstance(place, int | str) and place in self._pictures:
                self._images[index] = self._pictures[place]
                return self._images[index]
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
                self._images[index] = self._pictures[place] = self._textures.decode(data, name)
        return self._images[index]


def corner_tints(surface: Surface, colors: np.ndarray | None) -> np.ndarray | None:
    """What corners multiply the texture with, or are coloured by where there is none; None for nothing.

    Args:
        surface (`Surface`)
        colors (`np.ndarray` of shape `(..., 3 or 4)`, *optional*): Linear vertex colours in 0..1.

    Returns:
        `np.ndarray` of shape `(..., 4)`: Linear RGB, and an opacity of which `OPAQUE_FROM` is where holes end.
    """
    # Holes end at the cutoff; the texture, whose opacity is 0 to 1, cannot have this factor in it.
    scale = OPAQUE_FROM / surface.cutoff if surface.alpha == "cut" else 1.0
    if colors is None:
        if surface.texture is not None and (surface.alpha != "cut" or surface.cutoff == 0.5):
            return None
        colors = np.ones((1, 1, 4), dtype=np.float32)
    tints = np.ones((*colors.shape[:-1], 4), dtype=np.float32)
    tints[..., : colors.shape[-1]] = np.clip(colors, 0, 1)
    if surface.texture is None:
        tints *= surface.factor.astype(np.float32)
    if surface.alpha == "opaque":
        tints[..., 3] = 1
    elif surface.alpha == "cut":
        tints[..., 3] *= scale
    else:
        tints[..., 3] = (tints[..., 3] > 0) * 1e6  # what can be seen at all is no hole
    return tints


def _shaded(texels: np.ndarray, surface: Surface) -> np.ndarray:
    """The texture with the factor in it; its opacity is 0 or 1 but where it is cut."""
    factor = surface.factor
    if surface.alpha == "opaque" and np.all(factor[:3] == 1) and texels[..., 3].min(initial=255) == 255:
        return texels
    levels = np.arange(256) / 255  # the values that a texel may have
    shaded = texels.copy()
    if not np.all(factor[:3] == 1):
        for channel in range(3):
            shaded[..., channel] = linear_to_srgb(srgb_to_linear(levels) * factor[channel])[texels[..., channel]]
    opacity = levels * factor[3]
    if surface.alpha == "opaque":
        opacity = np.ones(256)
    elif surface.alpha == "blend":
        opacity = (opacity > 0).astype(np.float64)
    shaded[..., 3] = np.round(np.clip(opacity, 0, 1) * 255).astype(np.uint8)[texels[..., 3]]
    return shaded


def _color_of_metal(gloss: dict[str, Any] | None) -> np.ndarray | None:
    """What a metal reflects, in specular-glossiness, or None for another surface."""
    if gloss is None or not ("specularFactor" in gloss or "specularGlossinessTexture" in gloss):
        return None
    color = _numbers(gloss.get("specularFactor", (1, 1, 1)), 3, "a specular factor")
    return color if color.max() > METAL else None


def _color_of_light(material: dict[str, Any]) -> np.ndarray | None:
    """What a material emits, or None for nothing."""
    color = _numbers(material.get("emissiveFactor", (0, 0, 0)), 3, "an emissive factor")
    strength = (material.get("extensions") or {}).get("KHR_materials_emissive_strength", {}).get("emissiveStrength", 1)
    return color * min(float(strength), 1.0) if color.max() > BLACK else None


def _uv_transform(transform: dict[str, Any]) -> np.ndarray:
    offset = _numbers(transform.get("offset", (0, 0)), 2, f"{TRANSFORM}'s offset")
    scale = _numbers(transform.get("scale", (1, 1)), 2, f"{TRANSFORM}'s scale")
    angle = float(transform.get("rotation", 0.0))
    cosine, sine = np.cos(angle), np.sin(angle)
    moved = np.array([[1, 0, offset[0]], [0, 1, offset[1]], [0, 0, 1]], dtype=np.float64)
    turned = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    return moved @ turned @ np.diag([*scale, 1.0])


def _color(values: Any) -> np.ndarray:
    """RGB and opacity, `(4,)`; some exporters leave the opacity out."""
    if isinstance(values, list) and len(values) == 3:
        values = [*values, 1.0]
    return _numbers(values, 4, "a base colour factor")


def _numbers(values: Any, count: int, name: str) -> np.ndarray:
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} is {values!r}; expected {count} numbers")
    return numbers
