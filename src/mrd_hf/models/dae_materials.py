"""COLLADA's materials: the diffuse colour or texture of their effects, read for those that a mesh shows.

What a material lacks is a warning, and its mesh has no colour.
"""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import unquote
from xml.etree.ElementTree import Element

import numpy as np

from .dae_document import DaeDocument, numbers
from .shape_limits import ShapeBudget
from .shapes import Wrap
from .textures import Textures


SHADINGS = ("phong", "lambert", "blinn", "constant")
FLAT_SURFACES = ("2D", "RECT", "UNTYPED")
WRAPS: dict[str, Wrap] = {"WRAP": "repeat", "MIRROR": "mirror", "CLAMP": "clamp", "BORDER": "clamp", "NONE": "clamp"}


@dataclass(frozen=True)
class DaeLook:
    """How a material looks.

    Args:
        name (`str`): The material's.
        color (`np.ndarray` of shape `(3,)`, *optional*): sRGB in 0..1; None where there is none, or a texture.
        texels (`np.ndarray` of shape `(height, width, 4)`, *optional*): See `MeshPart`.
        texcoord (`str`): What the texture calls its coordinates.
        wrap (pair of `Wrap`)
    """

    name: str
    color: np.ndarray | None = None
    texels: np.ndarray | None = None
    texcoord: str = ""
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")


class DaeMaterials:
    """Looks of materials; each effect and each texture is read once.

    Args:
        document (`DaeDocument`): Its warnings get what cannot be read.
        get (`Callable[[str], bytes]`): Content of a file that it names. Raises `FileNotFoundError`.
        budget (`ShapeBudget`): What the file may hold.
    """

    def __init__(self, document: DaeDocument, get: Callable[[str], bytes], budget: ShapeBudget) -> None:
        self.document = document
        self.warnings = document.warnings
        self.get = budget.counted(get)
        self._pictures = Textures(budget, self.warnings)
        self._looks: dict[str, DaeLook | None] = {}  # by the material's URL
        self._effects: dict[Element, DaeLook] = {}
        self._textures: dict[str, np.ndarray | None] = {}
        self._opaque: dict[int, np.ndarray] = {}  # of textures, by where their texels lie
        # Besides by their ids, images are found by their names, and by those of their files.
        self._images: dict[str | None, Element] = {}
        for image in document.root.iter("image"):
            file = _file(image)
            for key in (image.get("name"), file, posixpath.basename(file)):
                self._images.setdefault(key, image)

    def look(self, url: str) -> DaeLook | None:
        """How the material looks that a mesh names; None where it is not there."""
        if url not in self._looks:
            self._looks[url] = self._read(url)
        return self._looks[url]

    def _read(self, url: str) -> DaeLook | None:
        material = self.document.named("material", url)
        if material is None:
            self.warnings.append(f"material not found: {url.removeprefix('#')}")
            return None
        name = material.get("name", "") or material.get("id", "")
        instance = material.find("instance_effect")
        effect = None if instance is None else self.document.named("effect", instance.get("url"))
        if effect is None:
            self.warnings.append(f"material without an effect left out: {name}")
            return None
        if effect not in self._effects:
            self._effects[effect] = self._read_effect(effect, name)
        return replace(self._effects[effect], name=name)

    def _read_effect(self, effect: Element, name: str) -> DaeLook:
        """The diffuse colour or texture or, of an effect that shines alone, that which it emits."""
        profile = effect.find("profile_COMMON")
        if profile is None:
            self.warnings.append(f"material without profile_COMMON left out: {name}")
            return DaeLook(name)
        shadings = (found for kind in SHADINGS for found in profile.iterfind(f"technique/{kind}"))
        shading = next(shadings, None)
        if shading is None:
            self.warnings.append(f"material without {', '.join(SHADINGS)} left out: {name}")
            return DaeLook(name)
        value = shading.find("emission" if shading.tag == "constant" else "diffuse")
        if value is None:
            return DaeLook(name)
        texture = value.find("texture")
        if texture is not None:
            return self._textured(texture, shading, profile, name)
        color = _color(value, profile)
        if color is None:
            self.warnings.append(f"colour not understood: <{value.tag}> of material {name}")
        return DaeLook(name, color)

    def _textured(self, texture: Element, shading: Element, profile: Element, name: str) -> DaeLook:
        named = texture.get("texture", "")
        image, sampler = self._sampled(named, profile)
        file = "" if image is None else _file(image)
        if not file:
            self.warnings.append(f"texture left out, as it names no picture: {named} of material {name}")
            return DaeLook(name)
        mask = shading.find("transparent/texture")
        is_cut = mask is not None and self._sampled(mask.get("texture", ""), profile)[0] is not None
        wraps = [(sampler.findtext(side) if sampler is not None else "") or "" for side in ("wrap_s", "wrap_t")]
        u, v = (WRAPS.get(wrap.strip(), "repeat") for wrap in wraps)
        return DaeLook(name, None, self._texels(file, is_cut), texture.get("texcoord", ""), (u, v))

    def _sampled(self, name: str, profile: Element) -> tuple[Element | None, Element | None]:
        """The image that a texture names, and how it is sampled."""
        samplers: dict[str | None, Element] = {}
        surfaces: dict[str | None, Element] = {}
        for parameter in profile.iter("newparam"):
            for kind, named in (("sampler2D", samplers), ("surface", surfaces)):
                inner = parameter.find(kind)
                if inner is not None:
                    named[parameter.get("sid")] = inner

        def image_of(sampler: Element) -> Element | None:
            instance = sampler.find("instance_image")  # of COLLADA 1.5, which has no surfaces
            if instance is not None:
                return self._image(instance.get("url"))
            surface = surfaces.get((sampler.findtext("source") or "").strip())
            if surface is None or surface.get("type", "2D") not in FLAT_SURFACES:
                return None
            return self._image(surface.findtext("init_from"))

        if name in samplers:
            return image_of(samplers[name]), samplers[name]
        # Some exporters name the image itself.
        image = self._image(name)
        found = (each for each in samplers.values() if image is not None and image_of(each) is image)
        return image, next(found, None)

    def _image(self, name: str | None) -> Element | None:
        name = (name or "").strip()
        image = self.document.named("image", name)
        return image if image is not None or not name else self._images.get(name)

    def _texels(self, file: str, is_cut: bool) -> np.ndarray | None:
        if file not in self._textures:
            self._textures[file] = self._decode(file)
        texels = self._textures[file]
        if texels is None or is_cut:
            return texels
        if id(texels) not in self._opaque:
            opaque = texels
            if texels[..., 3].min(initial=255) < 255:  # without <transparent> it means something else
                opaque = self._pictures.copied(texels)
                opaque[..., 3] = 255
            self._opaque[id(texels)] = opaque
        return self._opaque[id(texels)]

    def _decode(self, file: str) -> np.ndarray | None:
        name = unquote(file).removeprefix("file://").removeprefix("./")
        try:
            return self._pictures.decode(self.get(name), name)
        except FileNotFoundError as error:
            self.warnings.append(str(error))
            return None


def _file(image: Element) -> str:
    """The name of an image's file; "" where it has none. COLLADA 1.5 has it in a <ref>."""
    source = next(image.iter("init_from"), None)
    return "" if source is None else (source.findtext("ref") or source.text or "").strip()


def _color(value: Element, profile: Element) -> np.ndarray | None:
    """The colour of a <color>, or of the parameter that a <param> names; None where there is none."""
    color, parameter = value.find("color"), value.find("param")
    if color is None and parameter is not None:
        named = (each for each in profile.iter("newparam") if each.get("sid") == parameter.get("ref"))
        color = next((each for new in named for each in new if each.tag in ("float3", "float4")), None)
    try:
        found = np.empty(0) if color is None else numbers(color)
    except ValueError:
        return None
    return found[:3] if len(found) >= 3 else None
