"""A worse teacher, and another one, made of cached embeddings: pure functions of arrays and a seed."""

from dataclasses import dataclass

import numpy as np

from ...errors import UserError


@dataclass(frozen=True)
class TeacherChanges:
    """What is done to a dataset's cached embeddings. By default nothing.

    Args:
        wrong_images (`float`, defaults to 0):
            Share of the training shapes that get another one's images and image embeddings.
        embedding_noise (`float`, defaults to 0):
            Gaussian noise on the image and text embeddings of the training shapes: its expected norm, beside
            embeddings of norm 1.
        teacher_width (`int`, *optional*):
            Another teacher, of all splits and the classes: embeddings turned by one random rotation and cut to this
            width.
        teacher_noise (`float`, defaults to 0):
            The other teacher's own noise, as `embedding_noise`, but the same for equal embeddings.
    """

    wrong_images: float = 0.0
    embedding_noise: float = 0.0
    teacher_width: int | None = None
    teacher_noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.wrong_images <= 1:
            raise UserError(f"--wrong-images must be a share from 0 to 1, not {self.wrong_images:g}.")
        for name in ("embedding_noise", "teacher_noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"--{name.replace('_', '-')} must be a number from 0, not {getattr(self, name):g}.")
        if self.teacher_noise and self.teacher_width is None:
            raise UserError("--teacher-noise is of another teacher; give its --teacher-width as well.")

    def teacher_name(self, name: str, seed: int) -> str:
        """What the other teacher is called, after the one that it is made of."""
        if self.teacher_width is None:
            return name
        return f"{name}-rotated-{self.teacher_width}-noise-{self.teacher_noise:g}-seed-{seed}"


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of a purpose; those of another are independent."""
    return np.random.default_rng([seed, *purpose.encode()])


def wrong_partners(count: int, share: float, seed: int) -> np.ndarray:
    """Whose images each row gets: of `share` of the rows, another one of them; of the rest, its own.

    Args:
        count (`int`): Rows.
        share (`float`): From 0 to 1; of a single row there is no other, so it stays.
        seed (`int`)

    Returns:
        `np.ndarray` of shape `(count,)`: a permutation.
    """
    chosen = generator(seed, "wrong images").permutation(count)[: round(share * count)]
    partners = np.arange(count)
    partners[chosen] = np.roll(chosen, 1)  # round a circle, so that none is its own
    return partners


def with_noise(embeds: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Unit embeddings with Gaussian noise of an expected norm of about `strength`, L2-normalised again.

    Args:
        embeds (`np.ndarray` of shape `(n, width)`): L2-normalised.
        strength (`float`)
        rng (`np.random.Generator`)
    """
    noise = rng.standard_normal(embeds.shape) * (strength / np.sqrt(embeds.shape[1]))
    return normalized(embeds + noise)


class OtherTeacher:
    """Embeddings turned and cut, with noise of its own that is the same for equal embeddings.

    A rotation alone would change nothing: the cosines would stay. Cut to a part of their width, they are random
    projections of what they were.

    Args:
        width (`int`): Of the embeddings as they are.
        to_width (`int`): Of the other teacher's.
        noise (`float`): Expected norm of its noise.
        seed (`int`)

    Raises:
        UserError: It would be wider than the one that it is made of.
    """

    def __init__(self, width: int, to_width: int, noise: float, seed: int) -> None:
        if not 0 < to_width <= width:
            raise UserError(f"--teacher-width must be from 1 to {width}, the teacher's width, not {to_width}.")
        square = generator(seed, "other teacher").standard_normal((width, width))
        rotation, triangle = np.linalg.qr(square)
        # Without the signs, the rotations would not be evenly distributed.
        self.projection = (rotation * np.sign(np.diag(triangle)))[:, :to_width]
        self.noise, self.seed = noise, seed

    def __call__(self, embeds: np.ndarray) -> np.ndarray:
        """
        Args:
            embeds (`np.ndarray` of shape `(n, width)`)

        Returns:
            `np.ndarray` of shape `(n, to_width)`, L2-normalised.
        """
        cut = normalized(embeds.astype(np.float64) @ self.projection)
        if not self.noise:
            return cut
        rows = [
            with_noise(row[None], self.noise, np.random.default_rng([self.seed, *given.tobytes()]))[0]
            for given, row in zip(embeds.astype(np.float16), cut, strict=True)
        ]
        return np.stack(rows) if rows else cut


def normalized(embeds: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays one."""
    norms = np.linalg.norm(embeds, axis=-1, keepdims=True)
    return embeds / np.where(norms > 0, norms, 1)
