"""One HTML page with a map of 3D, image and text embeddings, on which each point shows its shape.

The page needs nothing besides itself: no network, no server, no other file. Its layout and script are in
`embedding_map.html`; this module makes the data that it shows, bounded in size:

| what | how much |
|---|---|
| shapes | at most 1,500, drawn with the seed if there are more |
| points on the map | one a shape and modality, so at most 4,500 |
| points of a shape | at most 512, a byte a coordinate and a byte a color: 4 KB in the page |
| pictures | at most 128 pixels wide or high, as JPEG: some 4 KB each |
| plotly.js | 4.8 MB |

So the page has 5 MB and some 6 to 9 KB a shape: 7 MB for 236 shapes with pictures, some 18 MB at most.
"""

import base64
import html
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from datasets import Dataset
from PIL import Image

from ...errors import UserError
from ...files.atomic_file import atomic_file
from ...models.shapes import ColoredPoints
from ..encoding import CloudReader
from ..scores.similarity import Embeddings, similarity_blocks, unit_rows


try:
    from plotly.offline import get_plotlyjs
except ImportError:
    get_plotlyjs = None
try:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits
except ImportError:
    TSNE = None

# The picture of a row, or None; [`dataset_pictures`] makes one.
PictureReader = Callable[[int], Image.Image | None]

MODALITIES = ("3D", "image", "text")
MAX_SHAPES = 1500
LEAST_EMBEDDINGS = 3  # that t-SNE makes a map of
MAX_POINTS = 512
PICTURE_SIZE = 128  # pixels
JPEG_QUALITY = 80
NUM_NEAREST = 3
NUM_COMPONENTS = 50
PERPLEXITY = 30.0
MAP_SIZE = 100.0  # of the map's longer side
READ_AT_ONCE = 64
# Bytes 0..254, so that there is one for the middle.
STEPS = 127
# From low to high, for shapes without colors: of matplotlib's cividis, which reads alike for every color vision.
HEIGHT_COLORS = ((0, 34, 78), (66, 78, 107), (124, 123, 120), (188, 175, 111), (254, 232, 56))
PAGE = Path(__file__).with_name("embedding_map.html")
# In the order of the page: no part holds the mark of a later one before that is filled in, see `_fill`.
MARKS = ("@@TITLE@@", "@@DATA@@", "@@PLOTLY@@")


def write_embedding_map(
    path: str | Path,
    clouds: CloudReader,
    embeds: dict[str, Embeddings],
    ids: Sequence[str],
    names: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    class_names: Sequence[str],
    class_embeds: Embeddings | None = None,
    pictures: PictureReader | None = None,
    up_axis: Literal["y", "z"] = "y",
    title: str = "Embedding map",
    seed: int = 0,
) -> None:
    """Write the page: a map of all embeddings, and beside it the shape that is clicked on.

    Opened with `#shape=12` behind its address, the page shows the shape of row 12. The same input gives the same bytes
    on one machine.

    Args:
        path (`str` or `Path`):
            HTML file to write; it appears only when complete.
        clouds ([`CloudReader`]):
            Reads the shapes' points and colors.
        embeds (`dict` of `torch.Tensor` or `np.ndarray` of shape `(num_shapes, embedding_dim)`):
            By modality: `3D`, and optionally `image` and `text`. All of one width.
        ids (sequence of `str`):
            One a shape.
        names (sequence of `str`):
            One a shape, for a reader.
        labels (sequence of `int`):
            Class of each shape; -1 where it has none.
        class_names (sequence of `str`):
            The classes.
        class_embeds (`torch.Tensor` or `np.ndarray` of shape `(num_classes, embedding_dim)`, *optional*):
            Of the classes' texts. With them the page tells the classes nearest to a shape.
        pictures ([`PictureReader`], *optional*):
            Reads the shapes' pictures.
        up_axis (`"y"` or `"z"`, defaults to `"y"`):
            Which axis points up in the clouds.
        title (`str`):
            Of the page; any text.
        seed (`int`, defaults to 0):
            Draws the shapes, where there are too many, and the points of each.

    Raises:
        UserError: If plotly or scikit-learn is not installed.
        ValueError: If the arguments do not fit together.
    """
    if get_plotlyjs is None:
        raise UserError("the embedding map needs plotly: pip install 'mrd-hf[interactive]'.")
    num_shapes = len(ids)
    _check(embeds, num_shapes, names, labels, class_names, class_embeds)
    rows = choose_rows(num_shapes, MAX_SHAPES, seed)
    shown = {modality: unit_rows(embeds[modality], modality)[rows] for modality in MODALITIES if modality in embeds}
    positions = project_embeddings(shown)
    nearest = [[]] * len(rows) if class_embeds is None else _nearest_classes(shown["3D"], class_embeds)
    shapes = []
    for place, (row, cloud) in enumerate(_read_clouds(clouds, rows)):
        picture = None if pictures is None else pictures(row)
        shapes.append(
            {
                "row": row,
                "id": ids[row],
                "name": names[row],
                "class": int(labels[row]),
                "nearest": nearest[place],
                "cloud": encode_cloud(*cloud, up_axis, np.random.default_rng((seed, row))),
                "colored": cloud[1] is not None,
                "picture": None if picture is None else _as_data_url(picture),
            }
        )
    data = {
        "title": title,
        "classes": list(class_names),
        "positions": {modality: xy.tolist() for modality, xy in positions.items()},
        "shapes": shapes,
        "total": num_shapes,
        "seed": seed,
        "upAxis": up_axis,
        "components": min(NUM_COMPONENTS, *_joined(shown).shape),
        "perplexity": round(_perplexity(len(shown) * len(rows)), 1),
    }
    parts = html.escape(title), script_safe_json(data), get_plotlyjs()
    with atomic_file(Path(path)) as file:
        file.write(_fill(PAGE.read_text(encoding="utf-8"), parts).encode())


def dataset_pictures(dataset: Dataset) -> PictureReader:
    """Reads each shape's first picture from the column `images` of a triplet dataset."""
    images = dataset.select_columns(["images"])

    def read(row: int) -> Image.Image | None:
        pictures = images[row]["images"]
        return pictures[0] if pictures else None

    return read


def choose_rows(num_shapes: int, count: int, seed: int) -> list[int]:
    """All rows, or `count` of them drawn with the seed; sorted."""
    if num_shapes <= count:
        return list(range(num_shapes))
    return sorted(np.random.default_rng(seed).choice(num_shapes, count, replace=False).tolist())


def project_embeddings(embeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Places of all modalities' embeddings on one map.

    Embeddings of one modality fill a region of their own, whatever they are of (the modality gap; Liang et al.,
    NeurIPS 2022), so that a map of them as they are shows three islands. Therefore each modality's mean is taken off
    first, and what is left is brought to length 1. PCA to 50 dimensions and t-SNE follow. Nothing is drawn at random:
    t-SNE starts from the first two dimensions. It has one thread, since sums of several threads differ from run to
    run, and t-SNE makes much of little.

    Args:
        embeds (`dict` of `np.ndarray` of shape `(num_shapes, embedding_dim)`): Of length 1, by modality.

    Returns:
        `dict` of `np.ndarray` of shape `(num_shapes, 2)`: By modality; float64 with 2 decimals, in -50..50.

    Raises:
        UserError: If scikit-learn is not installed.
        ValueError: If there are fewer than `LEAST_EMBEDDINGS`.
    """
    if TSNE is None:
        raise UserError("the embedding map needs scikit-learn: pip install 'mrd-hf[evaluation]'.")
    joined = _joined(embeds)
    count = len(joined)
    if count < LEAST_EMBEDDINGS:
        raise ValueError(f"a map needs three embeddings or more, got {count}")
    with threadpool_limits(1):
        reduced = _principal_components(joined, min(NUM_COMPONENTS, *joined.shape))
        reduced /= max(float(reduced.std(axis=0).max()), 1e-12)  # all alike otherwise divide by zero in t-SNE
        # As init="pca" has it, which divides by zero as well.
        start = np.zeros((count, 2))
        start[:, : reduced.shape[1]] = 1e-4 * reduced[:, :2]
        tsne = TSNE(perplexity=_perplexity(count), init=start.astype(np.float32))
        places = tsne.fit_transform(reduced).astype(np.float64)
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - (low + high) / 2) / max(float((high - low).max()), 1e-12) * MAP_SIZE
    places = np.round(places, 2) + 0.0  # + 0.0: no -0.0
    return dict(zip(embeds, np.split(places, len(embeds)), strict=True))


def encode_cloud(
    points: np.ndarray, colors: np.ndarray | None, up_axis: Literal["y", "z"], generator: np.random.Generator
) -> str:
    """A cloud in base64: at most 512 of its points, three bytes each, then their colors, three bytes each.

    A byte b of a coordinate stands for b / 127 - 1, in a box of side 2 around the middle of the cloud that it just
    fits in. A cloud without colors gets them by height.

    Args:
        points (`np.ndarray` of shape `(num_points, 3)`): xyz in any unit.
        colors (`np.ndarray` of shape `(num_points, 3)`, *optional*): Integers in 0..255 or floats in 0..1.
        up_axis (`"y"` or `"z"`): Which axis is up.
        generator (`np.random.Generator`): Draws the points that are kept, in the order of the cloud.
    """
    points = np.asarray(points, dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    unit = (points - (low + high) / 2) / (float((high - low).max()) / 2 or 1.0)
    if colors is None:
        height = unit[:, 1 if up_axis == "y" else 2]
        steps = np.linspace(height.min(), max(height.max(), height.min() + 1e-12), len(HEIGHT_COLORS))
        rgb = np.stack([np.interp(height, steps, channel) for channel in zip(*HEIGHT_COLORS, strict=True)], axis=1)
    else:
        rgb = colors * 255 if np.asarray(colors).dtype.kind == "f" else np.asarray(colors)
    if len(points) > MAX_POINTS:
        kept = np.sort(generator.choice(len(points), MAX_POINTS, replace=False))
        unit, rgb = unit[kept], rgb[kept]
    bytes_ = [np.round((unit + 1) * STEPS), np.clip(np.round(rgb), 0, 255)]
    return base64.b64encode(b"".join(part.astype(np.uint8).tobytes() for part in bytes_)).decode()


def script_safe_json(data: dict[str, Any]) -> str:
    """JSON that can stand inside a script element: no text in it can end the element or begin another."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII, so nothing depends on the encoding
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _check(
    embeds: dict[str, Embeddings],
    num_shapes: int,
    names: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    class_names: Sequence[str],
    class_embeds: Embeddings | None,
) -> None:
    if "3D" not in embeds or not set(embeds) <= set(MODALITIES):
        raise ValueError(f"embeds must have '3D' and may have 'image' and 'text', got {', '.join(map(repr, embeds))}")
    for what, values in (*embeds.items(), ("names", names), ("labels", labels)):
        if len(values) != num_shapes:
            raise ValueError(f"got {len(values)} {what} and {num_shapes} ids; need one a shape")
    widths = {modality: rows.shape[1] for modality, rows in embeds.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"embeddings must have one width, got {widths}")
    outside = [int(label) for label in labels if not -1 <= label < len(class_names)]
    if outside:
        raise ValueError(f"labels must lie in -1..{len(class_names) - 1}, got {outside[0]}")
    if class_embeds is not None and len(class_embeds) != len(class_names):
        raise ValueError(f"got {len(class_embeds)} class_embeds for {len(class_names)} class_names")


def _joined(embeds: dict[str, np.ndarray]) -> np.ndarray:
    """The embeddings without their modality's mean, of length 1: (num_modalities * num_shapes, width)."""
    return np.concatenate(
        [unit_rows(rows - rows.mean(axis=0, dtype=np.float64), modality) for modality, rows in embeds.items()]
    )


def _principal_components(rows: np.ndarray, count: int) -> np.ndarray:
    """The rows (num_rows, embedding_dim) along the `count` directions in which they vary most, by variance."""
    centered = rows - rows.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centered.T @ centered)  # by rising variance
    return centered @ directions[:, ::-1][:, :count]


def _perplexity(count: int) -> float:
    """t-SNE's effective number of neighbours, which must be less than there are."""
    return min(PERPLEXITY, (count - 1) / 3)


def _nearest_classes(shape_embeds: np.ndarray, class_embeds: Embeddings) -> list[list[list[float]]]:
    """For each shape [class, cosine] of the nearest classes, nearest first."""
    nearest = []
    for _, cosines in similarity_blocks(shape_embeds, class_embeds):
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :NUM_NEAREST]
        for classes, row in zip(order, cosines, strict=True):
            nearest.append([[int(index), round(float(row[index]), 3)] for index in classes])
    return nearest


def _read_clouds(clouds: CloudReader, rows: list[int]) -> list[tuple[int, ColoredPoints]]:
    found: list[tuple[int, ColoredPoints]] = []
    for start in range(0, len(rows), READ_AT_ONCE):
        part = rows[start : start + READ_AT_ONCE]
        found += zip(part, clouds(part), strict=True)
    return found


def _as_data_url(picture: Image.Image) -> str:
    """A picture on white, at most 128 pixels wide and high, as a JPEG in a URL."""
    picture = picture.convert("RGBA")
    picture.thumbnail((PICTURE_SIZE, PICTURE_SIZE))
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A"))
    file = io.BytesIO()
    flat.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _fill(page: str, parts: tuple[str, ...]) -> str:
    """The page with its marks replaced, each once; what is put in is not searched for marks."""
    filled = []
    for mark, part in zip(MARKS, parts, strict=True):
        before, _, page = page.partition(mark)
        filled += [before, part]
    return "".join([*filled, page])
