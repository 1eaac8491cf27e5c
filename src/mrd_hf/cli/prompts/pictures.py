"""Pictures that the command line is given, and their embeddings by a teacher."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image

from ...errors import UserError
from ...models.shape_limits import check_image
from ...teacher import Teacher
from ..output import one_line


# Others have readers of their own kind: Pillow hands EPS to Ghostscript, which runs what is in it.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

# Pictures that are in memory, and in a teacher's batch, at a time.
AT_ONCE = 64


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
    for path in paths:  # before the teacher is fetched
        with _opened(path):
            pass
    teacher = Teacher.from_pretrained(teacher_name, revision=revision, device=device)
    if teacher.embedding_dim != embedding_dim:
        raise UserError(
            f"{teacher_name} embeds into width {teacher.embedding_dim}, but {owner} has embeddings of width "
            f"{embedding_dim}; give as --teacher the model that the encoder was trained with."
        )
    embeds = [np.zeros((0, embedding_dim), np.float32)]
    for start in range(0, len(paths), AT_ONCE):
        pictures = [read_picture(path) for path in paths[start : start + AT_ONCE]]
        embeds.append(teacher.embed_images(pictures).cpu().numpy())
    return np.concatenate(embeds)


def read_picture(path: str) -> Image.Image:
    """Read a picture, of a known format and not too large.

    Raises:
        UserError: It cannot be read.
    """
    with _opened(path) as image:
        image.load()
        return image


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """A picture of which nothing but the header has been read."""
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            check_image(image)
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        formats = ", ".join(PICTURE_FORMATS)
        raise UserError(f"{path}: cannot be read as a picture, {formats} ({one_line(str(error))}).") from None
