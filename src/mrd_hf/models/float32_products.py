"""Matrix products of float32 in full, whatever a GPU may round elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32_products() -> Iterator[None]:
    """No TF32 for a while: with inputs of 10 bits the cosine of two equal embeddings is 1 only up to 1e-4, and scores
    depend on the kind of GPU."""
    settings = torch.backends.cuda.matmul
    # Who has set the newer name cannot read the older one.
    name, exact = ("fp32_precision", "ieee") if hasattr(settings, "fp32_precision") else ("allow_tf32", False)
    before = getattr(settings, name)
    setattr(settings, name, exact)
    try:
        yield
    finally:
        setattr(settings, name, before)


__all__ = ["exact_float32_products"]
