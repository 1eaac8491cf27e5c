"""Shapes that are given as URLs: fetched into a file of their own, with limits to size, time and scheme."""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from .feature_extraction_point_cloud import MESH_SUFFIXES
from .point_cloud_files import CLOUD_SUFFIXES


# This file travels with checkpoints. transformers brings httpx along; guarded, it does not ask for it by name.
try:
    import httpx
except ImportError as error:
    raise ImportError(f"Fetching shapes by URL needs httpx: pip install httpx ({error}).") from error


MAX_DOWNLOAD_BYTES = 256 * 2**20
DEFAULT_TIMEOUT = 60.0


def is_url(text: str) -> bool:
    """Whether a string has a scheme (`https://...`) and so is no path."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text) is not None


@contextmanager
def downloaded_shape(url: str, timeout: float | None = DEFAULT_TIMEOUT, allow_http: bool = False) -> Iterator[Path]:
    """The file behind a URL, as long as the context lasts. It lies alone: what it names is not fetched.

    Args:
        url (`str`): Its path ends in the file's name, as in `https://host/chair.glb?download=true`.
        timeout (`float`, *optional*, defaults to 60): Seconds for the whole of it; None waits for ever.
        allow_http (`bool`, defaults to `False`): Whether plain http will do, for the URL and what it redirects to.

    Raises:
        ValueError: If the scheme is another, the file's type is unknown, it is larger than `MAX_DOWNLOAD_BYTES`, or it
            cannot be fetched (in time).
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"{url}: is no URL ({error}).") from error
    _check_scheme(url, parts.scheme.lower(), allow_http)
    suffix = PurePosixPath(unquote(parts.path)).suffix.lower()
    if suffix not in MESH_SUFFIXES + CLOUD_SUFFIXES:
        known = ", ".join(sorted(MESH_SUFFIXES + CLOUD_SUFFIXES))
        raise ValueError(f"{url}: files with the suffix '{suffix}' are not known; expected one of {known}.")
    with tempfile.TemporaryDirectory(prefix="mrd-hf-") as folder:
        file = Path(folder) / f"shape{suffix}"
        try:
            _fetch(url, file, timeout, allow_http)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ValueError(f"{url}: cannot be fetched ({type(error).__name__}: {error}).") from error
        yield file


def _check_scheme(url: str, scheme: str, allow_http: bool) -> None:
    if scheme == "http" and not allow_http:
        raise ValueError(f"{url}: plain http can be tampered with on its way; give https, or allow_http=True.")
    if scheme not in ("https", "http"):
        raise ValueError(f"{url}: '{scheme}' is not fetched; expected https or the path of a file.")


def _fetch(url: str, file: Path, timeout: float | None, allow_http: bool) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout

    def check(request: httpx.Request) -> None:  # called for each redirect as well
        _check_scheme(str(request.url), request.url.scheme, allow_http)

    # Unpacking on the way could make much of little.
    headers = {"Accept-Encoding": "identity"}
    with (
        httpx.Client(timeout=timeout, follow_redirects=True, event_hooks={"request": [check]}) as client,
        client.stream("GET", url, headers=headers) as response,
        file.open("wb") as out,
    ):
        response.raise_for_status()
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ValueError(f"{url}: comes packed as {response.headers['Content-Encoding']}; download and unpack it.")
        _check_size(url, int(response.headers.get("Content-Length", 0)))
        for chunk in response.iter_raw():  # as it comes: chunks of one size would wait for a slow sender
            _check_size(url, out.tell() + len(chunk))
            if deadline is not None and time.monotonic() > deadline:
                raise ValueError(f"{url}: was not there after {timeout} s; give a longer timeout, or download it.")
            out.write(chunk)


def _check_size(url: str, size: int) -> None:
    if size > MAX_DOWNLOAD_BYTES:
        raise ValueError(f"{url}: is larger than the {MAX_DOWNLOAD_BYTES:,} bytes that are fetched.")
