"""Pictures that the command line is given, and their embeddings by a teacher."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image

from ...data.pictures import turned_upright
from ...errors import UserError
from ...models.shape_limits import check_image, check_pixels
from ...teacher import Teacher
from ..output import one_line


# Others have readers of their own kind: Pillow hands EPS to Ghostscript, which runs what is in it.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

# Pictures that are in memory, and in a teacher's batch, at a time; and their pixels, but for one that has more alone.
AT_ONCE, PIXELS_AT_ONCE = 64, 2**26


def embed_pictures(
    paths: Sequence[str], teacher_name: str, revision: str | None, embedding_dim: int, device: str, owner: str
) -> np.ndarray:
    """Embed pictures by a teacher.

    Args:
        paths (sequence of `str`): The pictures' files.
        teacher_name (`str`), revision (`str`, *optional*): See [`Teacher.from_pretrained`].
        embedding_dim (`int`): Width of what they are compared with.
        device (`str`): Where to compute.
        owner (`str`): Whose embeddings they are compared with, for messages.

    Returns:
        `np.ndarray` of shape `(len(paths), embedding_dim)`: float32, L2-normalised.

    Raises:
        UserError: A picture cannot be read, the teacher does not load, or is of another width.
    """
    sizes = []
    for path in paths:  # before the teacher is fetched
        with _opened(path) as image:
            sizes.append(image.width * image.height)
    teacher = Teacher.from_pretrained(teacher_name, revision=revision, device=device)
    if teacher.embedding_dim != embedding_dim:
        raise UserError(
            f"{teacher_name} embeds into width {teacher.embedding_dim}, but {owner} has embeddings of width "
            f"{embedding_dim}; give as --teacher the model that the encoder was trained with."
        )
    embeds = [np.zeros((0, embedding_dim), np.float32)]
    for start, end in _batches(sizes):
        pictures = [read_picture(path) for path in paths[start:end]]
        embeds.append(teacher.embed_images(pictures).cpu().numpy())
    return np.concatenate(embeds)


def _batches(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last place, the latter left out, of pictures that are in memory together."""
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start == AT_ONCE or total + size > PIXELS_AT_ONCE):
            yield start, place
            start, total = place, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


def read_picture(path: str) -> Image.Image:
    """Read a picture, of a known format and not too large, turned the way that its EXIF data says.

    Raises:
        UserError: It cannot be read.
    """
    with _opened(path) as image:
        image.load()
        return turned_upright(image)


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """A picture of which nothing but the header has been read."""
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            check_image(image)
            check_pixels(*image.size, os.path.getsize(path))
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        formats = ", ".join(PICTURE_FORMATS)
        raise UserError(f"{path}: cannot be read as a picture, {formats} ({one_line(str(error))}).") from None
