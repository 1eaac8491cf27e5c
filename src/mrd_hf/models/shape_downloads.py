"""Shapes that are given as URLs: fetched into a file of their own, with limits to size, time and scheme.

By Python's own client: this file travels with checkpoints, to where no other HTTP client may be installed.
"""

import http.client
import re
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import quote, unquote, urlsplit

from .shape_limits import DEFAULT_TIMEOUT, MAX_DOWNLOAD_BYTES
from .shape_suffixes import SHAPE_SUFFIXES


CHUNK = 2**16
# Those that a URL may have as they are; others, as blanks and umlauts, are percent-encoded on the way.
URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"


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
    if suffix not in SHAPE_SUFFIXES:
        known = ", ".join(sorted(SHAPE_SUFFIXES))
        raise ValueError(f"{url}: files with the suffix '{suffix}' are not known; expected one of {known}.")
    with tempfile.TemporaryDirectory(prefix="mrd-hf-") as folder:
        file = Path(folder) / f"shape{suffix}"
        try:
            _fetch(url, file, timeout, allow_http)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
            raise ValueError(f"{url}: cannot be fetched ({type(cause).__name__}: {cause}).") from error
        yield file


def _check_scheme(url: str, scheme: str, allow_http: bool) -> None:
    if scheme == "http" and not allow_http:
        raise ValueError(f"{url}: plain http can be tampered with on its way; give https, or allow_http=True.")
    if scheme not in ("https", "http"):
        raise ValueError(f"{url}: '{scheme}' is not fetched; expected https or the path of a file.")


class _SchemeCheck(urllib.request.BaseHandler):
    """Checks the scheme of each request: the first, and those that redirects lead to."""

    def __init__(self, allow_http: bool) -> None:
        self.allow_http = allow_http

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        _check_scheme(request.full_url, request.type, self.allow_http)
        return request

    https_request = http_request


def _opener(allow_http: bool) -> urllib.request.OpenerDirector:
    """Python's default opener, but for files, FTP and data, which a redirect must not reach."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        _SchemeCheck(allow_http),
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _fetch(url: str, file: Path, timeout: float | None, allow_http: bool) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    # Unpacking on the way could make much of little.
    headers = {"Accept-Encoding": "identity"}
    request = urllib.request.Request(quote(url, safe=URL_CHARACTERS), headers=headers)  # noqa: S310 (see `_opener`)
    with _opener(allow_http).open(request, timeout=timeout) as response, file.open("wb") as out:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ValueError(f"{url}: comes packed as {response.headers['Content-Encoding']}; download and unpack it.")
        expected = response.length  # None where the sender does not say
        _check_size(url, expected or 0)
        while chunk := response.read1(CHUNK):  # as it comes: full chunks would wait for a slow sender
            _check_size(url, out.tell() + len(chunk))
            if deadline is not None and time.monotonic() > deadline:
                raise ValueError(f"{url}: was not there after {timeout} s; give a longer timeout, or download it.")
            out.write(chunk)
        if expected is not None and out.tell() < expected:
            raise ValueError(f"{url}: broke off after {out.tell():,} of {expected:,} bytes; try again.")


def _check_size(url: str, size: int) -> None:
    if size > MAX_DOWNLOAD_BYTES:
        raise ValueError(f"{url}: is larger than the {MAX_DOWNLOAD_BYTES:,} bytes that are fetched.")
