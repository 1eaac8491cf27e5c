"""Norms of the terms' gradients and cosines between them, over batches: mean, spread, and those of the mean gradient.

All follow from the Gram matrix of the terms' gradients, `G_kl = <g_k, g_l>`: a weighted sum `g = sum a_k g_k` has the
norm `sqrt(a^T G a)`, and two such sums the product `a^T G b`. So of each batch six rows by six are kept, whatever the
encoder's size, and of the run of batches the sum of the gradients.
"""

from typing import Any, Literal

import numpy as np
import torch

from .term_gradients import TermGradients, sums_of_terms


# What gradients are taken with respect to.
Variable = Literal["encoder", "embeddings"]
VARIABLES: tuple[Variable, ...] = ("encoder", "embeddings")
# Columns multiplied at once, in float64: 32 MiB a term.
BLOCK_SIZE = 2**22
# Digits of what is reported: float32 has no more.
DIGITS = 7


class GradientMeasures:
    """Takes the gradients of batches one after the other, of one model, and sums them up.

    Args:
        names (`list[str]`): The terms, as in [`TermGradients`].
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.sums = sums_of_terms(names)
        self.losses: list[np.ndarray] = []
        self.weights = np.zeros(len(names))
        self.whole: list[float] = []
        self.grams: dict[Variable, list[np.ndarray]] = {"encoder": [], "embeddings": []}
        self.total: torch.Tensor | None = None

    def add(self, found: TermGradients) -> None:
        """Take the gradients of one more batch."""
        if found.names != self.names:
            raise ValueError(f"expected the terms {self.names}, got {found.names}")
        self.losses.append(found.losses.double().cpu().numpy())
        # The loss is linear in its terms, so these are the same for each batch.
        self.weights = found.weights.double().cpu().numpy()
        self.whole.append(found.loss)
        self.grams["encoder"].append(gram_matrix(found.encoder))
        self.grams["embeddings"].append(gram_matrix(found.embeddings))
        self.total = found.encoder.clone() if self.total is None else self.total.add_(found.encoder)

    def as_dict(self) -> dict[str, Any]:
        """Everything for JSON: `weights`, `losses` and, with respect to each of `VARIABLES`, `norms` and `cosines`.

        Norms of terms are without their weights, those of sums with them. All but the weights have `mean` and
        `spread`, the standard deviation over batches (null of a single batch). `of_mean` under `encoder` has norms and
        cosines of the mean gradient over the batches, in which what differs from batch to batch cancels out. A cosine
        with a gradient of zero is null.
        """
        if self.total is None:
            raise ValueError("no batch was added")
        report: dict[str, Any] = {
            "weights": dict(zip(self.names, _rounded(self.weights), strict=True)),
            "losses": _named(self.names, np.array(self.losses)) | {"loss": _summary(np.array(self.whole))},
        }
        for which in VARIABLES:
            found = [norms_and_cosines(self._with_sums(gram)) for gram in self.grams[which]]
            norms, cosines = zip(*found, strict=True)
            report[which] = {
                "norms": _named(self.rows, np.array(norms)),
                "cosines": {"rows": self.rows} | _summary(np.array(cosines)),
            }
        norm, cosine = norms_and_cosines(self._with_sums(gram_matrix(self.total / len(self.losses))))
        report["encoder"]["of_mean"] = {
            "norms": dict(zip(self.rows, _rounded(norm), strict=True)),
            "cosines": _rounded(cosine),
        }
        return report

    @property
    def rows(self) -> list[str]:
        """Names of the terms and of their sums, in the order of the matrices of cosines."""
        return [*self.names, *self.sums]

    def _with_sums(self, gram: np.ndarray) -> np.ndarray:
        """The Gram matrix of terms and sums, from that of the terms."""
        mixing = np.zeros((len(self.rows), len(self.names)))
        mixing[: len(self.names)] = np.eye(len(self.names))
        for row, members in enumerate(self.sums.values(), start=len(self.names)):
            mixing[row, members] = self.weights[members]
        return mixing @ gram @ mixing.T


def gram_matrix(rows: torch.Tensor) -> np.ndarray:
    """Products of all rows with each other, summed in float64.

    Args:
        rows (`torch.Tensor` of shape `(num_rows, width)`)

    Returns:
        `np.ndarray` of shape `(num_rows, num_rows)`.
    """
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for block in rows.split(BLOCK_SIZE, dim=1):
        block = block.double()
        gram += (block @ block.T).cpu()
    return gram.numpy()


def norms_and_cosines(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of rows and cosines between them, from their Gram matrix; a row of zeros has cosines of NaN.

    Args:
        gram (`np.ndarray` of shape `(num_rows, num_rows)`)

    Returns:
        Two `np.ndarray`s, of shapes `(num_rows,)` and `(num_rows, num_rows)`.
    """
    norms = np.sqrt(np.clip(np.diag(gram), 0, None))
    lengths = np.where(norms > 0, norms, np.nan)
    # What is 1 or -1 but for float64's rounding is so.
    return norms, (gram / np.outer(lengths, lengths)).round(12)


def _named(names: list[str], values: np.ndarray) -> dict[str, dict[str, Any]]:
    """Mean and spread of each name's column of `values`, `(num_batches, len(names))`."""
    return {name: _summary(values[:, column]) for column, name in enumerate(names)}


def _summary(values: np.ndarray) -> dict[str, Any]:
    """Mean and spread over the first axis."""
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full_like(values[0], np.nan)
    return {"mean": _rounded(values.mean(axis=0)), "spread": _rounded(spread)}


def _rounded(values: np.ndarray) -> Any:
    """Nested lists of numbers with `DIGITS` digits; None for NaN."""
    if values.ndim:
        return [_rounded(value) for value in values]
    return None if np.isnan(values) else float(f"{values:.{DIGITS}g}")
