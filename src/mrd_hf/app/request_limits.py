"""What a request to the server may be: small, and without an address that the server would fetch.

Gradio counts the bytes of a file that is uploaded and no others, and downloads files that a request names by a URL.
"""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect


# Of ASGI, the interface of Python's web servers.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_UPLOAD = 25 * 2**20
# A request that is no upload holds a text and the paths of uploads; a multipart upload has some bytes of its own.
MAX_BODY = 2**18
UPLOAD_OVERHEAD = 2**16
UPLOAD_PATH = "/gradio_api/upload"
# By these routes Gradio fetches what the rest of the path names: two for its files, and one for those of other Spaces.
FETCHING_PATH = re.compile(r"/(?:proxy=|file[=/][\s/]*https?:)", re.IGNORECASE)


class RequestLimits:
    """Answers 413 to a request that is too large, and 403 to one that would have the server fetch an address.

    Args:
        app (ASGI application): What answers all others.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = unquote(scope["path"])
        if FETCHING_PATH.search(path):
            await _refuse(403, "addresses are not fetched", send)
        elif scope["method"] not in ("POST", "PUT", "PATCH"):
            await self.app(scope, receive, send)
        elif path.rstrip("/").endswith(UPLOAD_PATH):
            await self._pass_upload(scope, receive, send)
        else:
            await self._pass_call(scope, receive, send)

    async def _pass_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = MAX_UPLOAD + UPLOAD_OVERHEAD
        if _announced(scope) > limit:
            await _refuse(413, _too_large(limit), send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # Gradio's parser sees a client that has gone. What it has written is left, until the server cleans up.
            return message if received <= limit else {"type": "http.disconnect"}

        try:
            await self.app(scope, counted, send)
        except ClientDisconnect:
            # An upload that is cancelled is no error of the server's, whose log would get a trace of it.
            if received > limit:
                await _refuse(413, _too_large(limit), send)

    async def _pass_call(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = _announced(scope) <= MAX_BODY
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) and len(body) <= MAX_BODY
        if len(body) > MAX_BODY or _announced(scope) > MAX_BODY:
            await _refuse(413, _too_large(MAX_BODY), send)
            return
        try:
            names_address = _names_address(json.loads(body or b"null"))
        except (ValueError, RecursionError):
            await _refuse(400, "the body is no JSON", send)
            return
        if names_address:
            await _refuse(403, "addresses are not fetched; upload the file", send)
            return
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)


def _announced(scope: Scope) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0


def _names_address(value: Any) -> bool:
    """Whether a file is given by its address, anywhere in a request."""
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str) and path.strip().lower().startswith(("http:", "https:")):
            return True
        return any(_names_address(part) for part in value.values())
    return isinstance(value, list) and any(_names_address(part) for part in value)


def _too_large(limit: int) -> str:
    return f"the request is too large; at most {limit:,} bytes are read"


async def _refuse(status: int, why: str, send: Send) -> None:
    body = json.dumps({"detail": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
