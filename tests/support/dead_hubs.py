"""Addresses for the Hub at which there is none."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants

from mrd_hf.models import model_sources


# Seconds that looking for the Hub may cost: 1.5 of patience, and what a busy machine takes. Loaders that ask it
# themselves wait 10 for each file.
SOON = 8.0


@contextmanager
def closed_port() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def silent_server() -> Iterator[str]:
    """One that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def move_the_hub(patch: pytest.MonkeyPatch, cache: Path, address: str) -> None:
    """Let the Hub be at an address, for this process, with a cache of its own."""
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr("transformers.utils.hub._hf_api", None, raising=False)  # which remembers an address
    patch.setattr(model_sources, "_unanswered", {})
    patch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
