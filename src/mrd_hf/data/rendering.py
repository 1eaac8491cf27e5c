"""Draw pictures of meshes on a CPU, for sources that have none: views from a ring of cameras.

Embree (the package embreex) finds what each pixel sees. It needs no display, no graphics driver and no library
of the system's, and gives the same picture on every run.

The cameras look at the middle of the mesh's bounding box, the first from the front (+z, with y up), the others each
further around it, counter-clockwise seen from above. They share one distance: the nearest at which the mesh fits
into all views. Both sides of a face are visible, and holes in cut-out textures are holes. Faces are shaded flat by a
light above the camera's left shoulder; colours are mixed as light, not as sRGB values.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import UserError
from ..models.shape_colors import texel_rows_and_columns, tinted
from ..models.shapes import TexturedMesh, Wrap
from ..models.surface_sampling import MIN_OPACITY


try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ImportError:
    EmbreeScene = None

# Half of the cameras' angle of view: as tangent, so of a pyramid of 40 degrees.
HALF_VIEW = float(np.tan(np.radians(20)))
# How much of a picture's half width the mesh may take.
FILL = 0.95
# To the right, up, and towards the camera.
LIGHT = np.array([-0.35, 0.5, 1.0]) / np.linalg.norm([-0.35, 0.5, 1.0])
# Surfaces that one ray may pass through the holes of.
MAX_LAYERS = 32
# Where neighbouring pixels' outlines differ by more, in square roots of light, both are drawn from four rays each.
CONTRAST = 0.04
# What stands for nothing in an outline: brighter than anything, so that every silhouette is drawn again.
NOTHING = 4.0
WEBP_QUALITY = 90

_BYTE = np.arange(256) / 255
_LINEAR_OF_SRGB = np.where(_BYTE <= 0.04045, _BYTE / 12.92, ((_BYTE + 0.055) / 1.055) ** 2.4).astype(np.float32)
_LIGHT = np.arange(65536) / 65535
_SRGB_OF_LINEAR = np.round(
    255 * np.where(_LIGHT <= 0.0031308, _LIGHT * 12.92, 1.055 * _LIGHT ** (1 / 2.4) - 0.055)
).astype(np.uint8)


@dataclass(frozen=True)
class RenderSettings:
    """What the pictures look like.

    Args:
        num_views (`int`, defaults to 12): Cameras, evenly spaced around the mesh.
        resolution (`int`, defaults to 224): Pixels a side; the pictures are square.
        elevations (`tuple[float, ...]`, defaults to `(20,)`):
            Height of the cameras in degrees, -90 to 90, 0 level with the mesh; several take turns along the ring.
        background (`tuple[int, int, int]`, defaults to white): sRGB, 0 to 255.
        ambient (`float`, defaults to 0.4):
            Share of the light that comes from everywhere, 0 to 1; with 1 there is no shading at all.

    Raises:
        UserError: A value is out of its range.
    """

    num_views: int = 12
    resolution: int = 224
    elevations: tuple[float, ...] = (20.0,)
    background: tuple[int, int, int] = (255, 255, 255)
    ambient: float = 0.4

    def __post_init__(self) -> None:
        if self.num_views < 1:
            raise UserError(f"num_views is {self.num_views}; expected at least 1 (or no pictures at all).")
        if not 16 <= self.resolution <= 4096:
            raise UserError(f"resolution is {self.resolution}; expected 16 to 4096 pixels.")
        if not self.elevations or not all(-90 <= elevation <= 90 for elevation in self.elevations):
            raise UserError(f"elevations are {self.elevations}; expected degrees from -90 to 90, at least one.")
        if len(self.background) != 3 or not all(0 <= value <= 255 for value in self.background):
            raise UserError(f"background is {self.background}; expected red, green and blue, each 0 to 255.")
        if not 0 <= self.ambient <= 1:
            raise UserError(f"ambient is {self.ambient}; expected 0 to 1.")


def check_can_render() -> None:
    """Raise a [`UserError`] that says what to install if meshes cannot be drawn here."""
    if EmbreeScene is None:
        raise UserError("drawing pictures of meshes needs embreex: pip install 'mrd-hf[render]'.")


def render_views(mesh: TexturedMesh, settings: RenderSettings) -> np.ndarray:
    """Draw a mesh from all sides.

    Args:
        mesh (`TexturedMesh`): With y up and its front towards +z, as glTF has it; in any unit.
        settings (`RenderSettings`): What the pictures look like.

    Returns:
        `np.ndarray` of shape `(num_views, resolution, resolution, 3)`: uint8 sRGB, top row first.

    Raises:
        UserError: embreex is not installed.
    """
    check_can_render()
    surface = _Surface(mesh)
    cameras = [
        _camera_axes(360 * view / settings.num_views, settings.elevations[view % len(settings.elevations)])
        for view in range(settings.num_views)
    ]
    distance = max(_fitting_distance(surface.corners, axes) for axes in cameras)
    return np.stack([_draw(surface, axes, distance, settings) for axes in cameras])


def encode_image(image: np.ndarray) -> bytes:
    """A picture as the bytes of an image file.

    WebP, at a quality where it takes 3.5 kB a picture of 224 pixels; PNG would take 13 kB, and JPEG of the same
    quality 7 kB. The error, 41 dB, is below what the resizing of a teacher's image processor changes.

    Args:
        image (`np.ndarray` of shape `(height, width, 3)`): uint8 sRGB.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=WEBP_QUALITY, method=0)
    return buffer.getvalue()


def _camera_axes(azimuth: float, elevation: float) -> np.ndarray:
    """A camera's axes, one a row: to its right, up, and from the mesh towards it. Angles in degrees."""
    azimuth, elevation = np.radians(azimuth), np.radians(elevation)
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    back = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    return np.stack([right, np.cross(back, right), back])


def _fitting_distance(corners: np.ndarray, axes: np.ndarray) -> float:
    """How far a camera must be from the origin to see all corners, of shape `(num_corners, 3)`, in its picture."""
    across, upward, towards = (corners @ axes.T.astype(np.float32)).T
    needed = np.maximum(np.abs(across), np.abs(upward)) / (HALF_VIEW * FILL) + towards
    # Even where all corners are on the line of sight, the camera stays outside.
    return max(float(needed.max()), float(towards.max()) + 0.5)


class _Surface:
    """A mesh's triangles, centred and scaled into the unit sphere, ready to be looked at."""

    def __init__(self, mesh: TexturedMesh) -> None:
        triangles = np.concatenate([part.triangles for part in mesh.parts])
        low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
        # In steps that neither overflow nor underflow, whatever the mesh's unit.
        triangles -= low / 2 + high / 2
        half_size = high / 2 - low / 2
        triangles /= half_size.max()
        triangles /= np.linalg.norm(half_size / half_size.max())
        triangles = triangles.astype(np.float32)
        self.corners = triangles.reshape(-1, 3)
        self.scene = EmbreeScene(robust=True)  # otherwise rays slip through between neighbouring triangles
        TriangleMesh(self.scene, triangles)

        self.corner_colors = np.concatenate([part.corner_colors for part in mesh.parts])
        self.uv = np.zeros((len(triangles), 3, 2), dtype=np.float32)
        self.texture_of_face = np.full(len(triangles), -1, dtype=np.int32)
        self.textures: list[_Texture] = []
        known: dict[tuple[int, tuple[Wrap, Wrap]], int] = {}
        tinted_parts = any(part.tint is not None for part in mesh.parts)
        self.tints = np.ones((len(triangles), 3, 4), dtype=np.float32) if tinted_parts else None
        self.is_tinted = np.zeros(len(triangles), dtype=bool)
        end = 0
        for part in mesh.parts:
            start, end = end, end + len(part.triangles)
            if part.texture is not None and part.uv is not None:
                look = (id(part.texture), part.wrap)
                if look not in known:
                    known[look] = len(self.textures)
                    self.textures.append(_Texture(part.texture, part.wrap))
                self.texture_of_face[start:end] = known[look]
                self.uv[start:end] = part.uv
                for axis, wrap in enumerate(part.wrap):
                    if wrap != "clamp":  # nearer to zero, so that float32 can hold it; mirrored, it repeats every 2
                        least = part.uv[..., axis].min(axis=1, keepdims=True)
                        self.uv[start:end, :, axis] = part.uv[..., axis] - 2 * np.floor(least / 2)
            if part.tint is not None and self.tints is not None:
                self.tints[start:end], self.is_tinted[start:end] = part.tint, True
        self.has_holes = np.array([texture.has_holes for texture in self.textures] + [False])  # [-1]: no texture

    def look(self, origin: np.ndarray, directions: np.ndarray, pixel_size: float) -> tuple[np.ndarray, ...]:
        """What is seen from `origin` along `directions`, of shape `(num_rays, 3)` and of depth 1.

        Args:
            pixel_size (`float`): Distance of neighbouring rays at depth 1.

        Returns:
            Which rays hit something, as indices, and for each of these the colour, uint8 `(num_hits, 3)`, the face's
            normal, float32 `(num_hits, 3)`, of any length but zero, and the number of its texture, -1 for none.
        """
        rays = np.arange(len(directions))
        origins = np.broadcast_to(origin, directions.shape).astype(np.float32)
        depths = np.zeros(len(directions), dtype=np.float32)
        seen = []
        for _ in range(MAX_LAYERS):
            found = self.scene.run(origins, directions[rays], output=True)
            hit = np.flatnonzero(found["primID"] >= 0)
            faces, normals = found["primID"][hit], found["Ng"][hit]
            depths = depths[hit] + found["tfar"][hit]
            rays = rays[hit]
            weights = np.stack([1 - found["u"][hit] - found["v"][hit], found["u"][hit], found["v"][hit]], axis=1)
            colors, is_hole = self._color(faces, weights, normals, depths * pixel_size)
            textures = self.texture_of_face[faces]
            seen.append((rays[~is_hole], colors[~is_hole], normals[~is_hole], textures[~is_hole]))
            rays, depths = rays[is_hole], depths[is_hole] + np.float32(1e-4)  # a step beyond the hole
            if len(rays) == 0:
                break
            origins = origin.astype(np.float32) + directions[rays] * depths[:, None]
        return tuple(np.concatenate(arrays) for arrays in zip(*seen, strict=True))

    def _color(
        self, faces: np.ndarray, weights: np.ndarray, normals: np.ndarray, pixel_sizes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colours, uint8 `(num_hits, 3)`, and which hits are holes, at corner weights `(num_hits, 3)` of faces."""
        textures = self.texture_of_face[faces]
        colors = np.empty((len(faces), 3), dtype=np.uint8)
        is_hole = np.zeros(len(faces), dtype=bool)
        for number in np.unique(textures):
            here = np.flatnonzero(textures == number)
            if number < 0:
                corners = self.corner_colors[faces[here]]
                colors[here] = np.einsum("fc,fcd->fd", weights[here], corners.astype(np.float32)) + np.float32(0.5)
                is_hole[here] = self._tint(faces, weights, colors, here)
                continue
            corners = self.uv[faces[here]]
            sides = corners[:, 1:] - corners[:, :1]
            uv_area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
            # Embree's normals are as long as twice the triangle's area, which the cross product of `sides` is too.
            area = np.linalg.norm(normals[here], axis=1)
            uv_pixel_area = uv_area / np.maximum(area, 1e-12) * pixel_sizes[here] ** 2
            uv = np.einsum("fc,fcd->fd", weights[here], corners)
            colors[here], is_hole[here] = self.textures[number].look_up(uv, uv_pixel_area)
            is_hole[here] |= self._tint(faces, weights, colors, here)
        return colors, is_hole

    def _tint(self, faces: np.ndarray, weights: np.ndarray, colors: np.ndarray, here: np.ndarray) -> np.ndarray:
        """Multiply the colours of these hits with the corners' tints, if any; returns which hits these make holes."""
        is_hole = np.zeros(len(here), dtype=bool)
        places = np.flatnonzero(self.is_tinted[faces[here]])
        if self.tints is None or not len(places):
            return is_hole
        hits = here[places]
        tints = np.einsum("fc,fcd->fd", weights[hits], self.tints[faces[hits]])
        textured = self.texture_of_face[faces[hits[0]]] >= 0
        opaque = np.full((len(hits), 1), 255, dtype=np.uint8)
        texels = np.concatenate([colors[hits], opaque], axis=1) if textured else None
        shaded = tinted(texels, tints)
        colors[hits] = shaded[:, :3]
        is_hole[places] = shaded[:, 3] < MIN_OPACITY
        return is_hole


class _Texture:
    """A texture and its reductions to halves, a quarter ..., one after the other in `texels`."""

    def __init__(self, texture: np.ndarray, wrap: tuple[Wrap, Wrap]) -> None:
        self.wrap = wrap
        self.has_holes = bool((texture[..., 3] < MIN_OPACITY).any())
        levels = [texture]
        image = Image.fromarray(texture)
        while min(image.size) > 1:
            image = image.reduce(2)  # transparent texels do not count towards the mean colour
            levels.append(np.asarray(image))
        self.sizes = np.array([level.shape[:2] for level in levels])
        self.starts = np.cumsum([0] + [height * width for height, width in self.sizes[:-1]])
        self.texels = np.concatenate([level.reshape(-1, 4) for level in levels])

    def look_up(self, uv: np.ndarray, uv_pixel_area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colours, uint8 `(num_hits, 3)`, and which are holes, at `uv`.

        Args:
            uv_pixel_area (`np.ndarray` of shape `(num_hits,)`): What part of the texture a pixel covers.
        """
        texels_a_pixel = uv_pixel_area * (self.sizes[0, 0] * self.sizes[0, 1])
        levels = np.log2(np.clip(texels_a_pixel, 1, 4.0**30)) / 2
        levels = np.minimum(np.round(levels).astype(np.int64), len(self.sizes) - 1)
        colors = self.texels[self._index(uv, levels)][:, :3]
        # The whole texture decides what is a hole: reduced, thin leaves would vanish.
        is_hole = np.zeros(len(uv), dtype=bool)
        if self.has_holes:
            is_hole = self.texels[self._index(uv, np.zeros_like(levels)), 3] < MIN_OPACITY
        return colors, is_hole

    def _index(self, uv: np.ndarray, levels: np.ndarray) -> np.ndarray:
        heights, widths = self.sizes[levels].T
        rows, columns = texel_rows_and_columns(uv, heights, widths, self.wrap)
        return self.starts[levels] + rows * widths + columns


def _draw(surface: _Surface, axes: np.ndarray, distance: float, settings: RenderSettings) -> np.ndarray:
    """One picture, uint8 `(resolution, resolution, 3)`, from a camera of these axes at this distance."""
    size = settings.resolution
    light = np.empty((size * size, 3), dtype=np.float32)
    light[:] = _LINEAR_OF_SRGB[list(settings.background)]
    outline = np.full_like(light, NOTHING)
    # Outside of the box around the corners' pictures there is nothing to be seen.
    across, upward, towards = (surface.corners @ axes.T.astype(np.float32)).T
    scale = size / 2 / HALF_VIEW / (distance - towards)
    top, bottom = size / 2 - (upward * scale).max(), size / 2 - (upward * scale).min()
    left, right = size / 2 + (across * scale).min(), size / 2 + (across * scale).max()
    rows, columns = np.mgrid[int(top) : int(bottom) + 1, int(left) : int(right) + 1].reshape(2, -1)
    pixels = rows * size + columns
    light[pixels], outline[pixels] = _light(surface, axes, distance, rows + 0.5, columns + 0.5, settings)

    # What is finer than pixels shows as contrast of neighbours: there, and only there, each pixel is the mean of four.
    # Not what is fine in a texture, of which a pixel sees the reduction that fits it.
    tones = np.sqrt(outline).T.reshape(3, size, size)
    uneven = np.zeros((size, size), dtype=bool)
    for channel in tones:
        across, down = (np.abs(np.diff(channel, axis=axis)) > CONTRAST for axis in (1, 0))
        uneven[:, 1:] |= across
        uneven[:, :-1] |= across
        uneven[1:] |= down
        uneven[:-1] |= down
    (uneven_pixels,) = np.nonzero(uneven.reshape(-1))
    if len(uneven_pixels) > 0:
        rows, columns = np.divmod(uneven_pixels[:, None], size)
        offsets = np.array([0.25, 0.75])
        rows, columns = (rows + np.repeat(offsets, 2)).reshape(-1), (columns + np.tile(offsets, 2)).reshape(-1)
        finer, _ = _light(surface, axes, distance, rows, columns, settings)
        light[uneven_pixels] = finer.reshape(-1, 4, 3).mean(axis=1)
    return _SRGB_OF_LINEAR[np.round(light * 65535).astype(np.int32)].reshape(size, size, 3)


def _light(
    surface: _Surface,
    axes: np.ndarray,
    distance: float,
    rows: np.ndarray,
    columns: np.ndarray,
    settings: RenderSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Linear light 0..1, float32 `(num_rays, 3)`, that comes in at these places of the picture, in pixels.

    And the same as an outline: each texture of one plain colour of its own, and `NOTHING` where there is no mesh.
    """
    pixel_size = 2 * HALF_VIEW / settings.resolution
    across, upward = columns * pixel_size - HALF_VIEW, HALF_VIEW - rows * pixel_size
    directions = np.stack([across, upward, np.full(len(rows), -1.0)], axis=1).astype(np.float32)
    directions = directions @ axes.astype(np.float32)
    rays, colors, normals, textures = surface.look(axes[2] * distance, directions, pixel_size)

    facing = np.where(np.einsum("rd,rd->r", normals, directions[rays]) > 0, -1, 1)  # both sides are lit
    lit = normals @ (LIGHT @ axes).astype(np.float32) * facing
    lit = np.clip(lit / np.maximum(np.linalg.norm(normals, axis=1), 1e-30), 0, 1)
    shade = (settings.ambient + (1 - settings.ambient) * lit).astype(np.float32)

    light = np.empty((len(rows), 3), dtype=np.float32)
    light[:] = _LINEAR_OF_SRGB[list(settings.background)]
    colors_seen = _LINEAR_OF_SRGB[colors]
    light[rays] = colors_seen * shade[:, None]
    outline = np.full_like(light, NOTHING)
    plain = (0.2 + 0.6 * (textures * 0.618 % 1)).astype(np.float32)  # far apart for numbers that follow each other
    outline[rays] = np.where(textures[:, None] < 0, colors_seen, plain[:, None]) * shade[:, None]
    return light, outline
