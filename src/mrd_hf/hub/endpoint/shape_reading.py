"""What the process does that reads an endpoint's shapes: isolation.py starts it and asks it for one after the other.

A request is `{"folder": str, "format": str, "num_points": int, "max_points": int, "parts": dict}`. The folder holds
the upload alone, as `shape.FORMAT`; or the request has a `"url"`, with `"hosts"`, which may be asked for it, and
`"max_bytes"`. `"parts"` has the arguments of `read_shape` that say which parts of a mesh are read. An answer is
`{"up_axis": "y", "z" or None, "warnings": [str]}`, what the file says and what of it could not be read, once the
folder holds points.npy and possibly colors.npy, or `{"status": int, "error": str}`.

It goes with handler.py, into a checkpoint's folder, and imports nothing of mrd_hf.
"""

import http.client
import importlib
import ipaddress
import json
import re
import socket
import ssl
import struct
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np


MAX_REDIRECTS = 3
FETCH_TIMEOUT = 10.0
# IPv6 networks whose addresses stand for others: of IPv4, of tunnels.
TRANSLATED_NETWORKS = [
    ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
]


class Refused(Exception):
    """A shape that is not taken; the message is for who sent it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read_shape(
    code: types.ModuleType, folder: Path, file_format: str, num_points: int, max_points: int, parts: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray | None, str | None, list[str]]:
    """Points and colors of the upload, drawn from a mesh's surface or those of a cloud; its up axis; its warnings.

    Args:
        code (module): With the checkpoint's modules.
        folder (`Path`): Holds the upload, and nothing else for it to name.
        file_format (`str`): Its suffix.
        num_points (`int`): How many points to draw from a surface.
        max_points (`int`): How many a cloud may have.
        parts (`dict`): `keep_collision` and `skip_parts` of `shape_files.read_shape`.

    Raises:
        Refused: when it is damaged, too large, or not all there.
    """
    if file_format not in formats(code):
        raise Refused(f"the format '{file_format}' is not known; expected one of {', '.join(formats(code))}.")
    file = folder / f"shape.{file_format}"
    check_self_contained(file, file_format)
    shape_files = _module(code, "shape_files")
    try:
        shape = shape_files.read_shape(file, **parts)
        missing = [warning for warning in shape.warnings if warning.startswith(("file not found", "file may"))]
        if missing:
            raise Refused(f"only what is in one file is read, and this one names others: {missing[0]}.")
        points, colors = shape_files.colored_points(shape, num_points)
    except ValueError as error:
        if _module(code, "shape_limits").ran_out_of_memory(error):
            raise MemoryError from None
        raise Refused(str(error).replace(str(file), "the shape")) from None
    if len(points) > max_points:
        raise Refused(f"the cloud has {len(points):,} points; at most {max_points:,} are taken.", 413)
    return points, colors, shape.up_axis, shape.warnings


def formats(code: types.ModuleType) -> list[str]:
    """The suffixes of files that are read, without their dots."""
    return [suffix[1:] for suffix in _module(code, "shape_suffixes").SHAPE_SUFFIXES]


def check_self_contained(file: Path, file_format: str) -> None:
    """Raise [`Refused`] if a mesh names other files, wherever they are: there are none beside an upload."""
    named: list[str] = []
    if file_format == "obj":
        with file.open("rb") as lines:
            named = [
                line.decode("utf-8", "replace") for line in lines if re.match(rb"\s*(mtllib|map_\w+|bump)\s", line)
            ]
    elif file_format in ("glb", "gltf"):
        try:
            header = json.loads(_gltf_header(file, file_format))
        except (ValueError, RecursionError, struct.error):
            return  # for its reader to refuse
        parts = header if isinstance(header, dict) else {}
        for kind in ("buffers", "images"):
            entries = parts.get(kind)
            for entry in entries if isinstance(entries, list) else []:
                uri = entry.get("uri") if isinstance(entry, dict) else None
                if uri is not None and not (isinstance(uri, str) and uri.startswith("data:")):
                    named.append(str(uri))
    if named:
        raise Refused(
            f"only what is in one file is read, and this one names others ('{named[0].strip()[:100]}'); send a GLB "
            "with everything in it, or leave that out."
        )


def fetch(url: str, hosts: list[str], max_bytes: int, folder: Path, known: list[str]) -> str:
    """Fetch the file behind a URL into `folder`; returns its format, one of those that are `known`.

    Only https, only from hosts that are named, only at addresses that are public, for each redirect as well. The name
    in the URL says the format, not where it redirects to: the Hub, for one, redirects to addresses without names.

    Raises:
        Refused: when it may not be fetched, is too large, or is not there.
    """
    file_format = PurePosixPath(unquote(check_url(url, hosts)[0].path)).suffix.lower()[1:]
    if file_format not in known:
        raise Refused(f"the URL must end in the file's name, with one of {', '.join(known)}.")
    for _ in range(MAX_REDIRECTS + 1):
        parts, host = check_url(url, hosts)
        connection = CheckedConnection(host, parts.port or 443, timeout=FETCH_TIMEOUT)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "mrd-hf"})
            response = connection.getresponse()
            if response.status in (301, 302, 303, 307, 308):
                url = urljoin(url, response.headers.get("Location", ""))
                continue
            if response.status != 200:
                raise Refused(f"{host} answers {response.status}.")
            content = response.read(max_bytes + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Refused(f"{host}: cannot be fetched from ({type(error).__name__}).") from None
        finally:
            connection.close()
        if len(content) > max_bytes:
            raise Refused(f"the file has more than {max_bytes:,} bytes.", 413)
        (folder / f"shape.{file_format}").write_bytes(content)
        return file_format
    raise Refused("the URL redirects too often.")


def check_url(url: str, hosts: list[str]) -> tuple[Any, str]:
    """The URL's parts and its host, if it may be asked."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Refused("the URL cannot be read.") from None
    if parts.scheme != "https" or host is None or parts.username is not None or port not in (None, 443):
        raise Refused("only https URLs are fetched, without a user's name and at the usual port.", 403)
    if re.search(r"[^\x21-\x7e]", url):
        raise Refused("the URL has blanks, line breaks or letters that must be quoted.")
    if host not in hosts:
        raise Refused(f"nothing is fetched from {host}.", 403)
    return parts, host


class CheckedConnection(http.client.HTTPSConnection):
    """Connects to an address that was found to be public, not to what its name stands for a moment later."""

    def connect(self) -> None:
        addresses = public_addresses(self.host, self.port)
        plain = socket.create_connection((addresses[0], self.port), self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


def public_addresses(host: str, port: int) -> list[str]:
    """A host's addresses; all must be public, or it is refused."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not found or not all(is_public(address) for address in found):
        raise Refused(f"{host} has an address that is not public.", 403)
    return found


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public internet's."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if any(address in network for network in TRANSLATED_NETWORKS):
            return False
    return address.is_global and not address.is_multicast


def _gltf_header(file: Path, file_format: str) -> bytes:
    with file.open("rb") as source:
        if file_format == "gltf":
            return source.read()
        start = source.read(20)
        length = struct.unpack_from("<I", start, 12)[0]
        if length > file.stat().st_size:
            raise ValueError("cut off")
        return source.read(length)


def _module(code: types.ModuleType, name: str) -> Any:
    return importlib.import_module(f"{code.__name__}.{name}")


def _package(folder: Path) -> types.ModuleType:
    """The checkpoint's modules, which import each other relatively, as those of a package."""
    package = types.ModuleType("checkpoint_code")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    return package


def _answer(code: types.ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    folder = Path(request["folder"])
    try:
        file_format = request["format"]
        if "url" in request:
            file_format = fetch(request["url"], request["hosts"], request["max_bytes"], folder, formats(code))
        limits = request["num_points"], request["max_points"]
        points, colors, up_axis, warnings = read_shape(code, folder, file_format, *limits, request["parts"])
        np.save(folder / "points.npy", points, allow_pickle=False)
        if colors is not None:
            np.save(folder / "colors.npy", colors, allow_pickle=False)
        return {"up_axis": up_axis, "warnings": warnings}
    except Refused as refused:
        return {"status": refused.status, "error": str(refused)}


def reader(folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What answers requests with the code of the checkpoint in a folder."""
    code = _package(Path(folder))
    for name in ("shape_files", "mesh_loading"):
        _module(code, name)
    return partial(_answer, code)
