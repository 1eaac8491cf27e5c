"""The encoder compiled by torch.compile, in training alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ...errors import UserError


BACKEND = "inductor"


def compile_encoder(encoder: nn.Module, device: torch.device) -> None:
    """Compile an encoder in place, when it is first called; names and objects of its weights stay as they are.

    Args:
        encoder (`nn.Module`)
        device (`torch.device`): That it is on.

    Raises:
        UserError: when nothing can be compiled here.
    """
    check_compiler(device)
    # Batches are all of one size, but for the last of a batch's parts.
    encoder.compile(backend=BACKEND, dynamic=False)


def check_compiler(device: torch.device) -> None:
    """Raise a [`UserError`] that says what to install if a small function cannot be compiled."""
    try:
        torch.compile(_probe, backend=BACKEND)(torch.ones(8, device=device))
    except Exception as error:  # of any class: no compiler, one that fails, no Triton, no headers of Python, ...
        lines = [type(error).__name__, *str(error).strip().splitlines()[:1]]
        raise UserError(
            f"compile: torch.compile does not work here ({': '.join(lines)}). On CPUs it needs "
            "a C++ compiler and Python's headers (Debian and Ubuntu: apt install g++ python3-dev; macOS: "
            "xcode-select --install; Windows: the C++ build tools of Visual Studio), on GPUs Triton and a C compiler. "
            "Install them, or leave out --compile."
        ) from error


def _probe(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.sin() + 1


@contextmanager
def not_compiled() -> Iterator[None]:
    """Within it, compiled models run as they are written, so that an evaluation can be repeated to the last digit."""
    with torch.compiler.set_stance("force_eager"):
        yield
