"""What requests pass, by an application that only counts what it receives."""

import asyncio
import json

import pytest
from starlette.requests import Request

from mrd_hf.app.request_limits import MAX_BODY, MAX_UPLOAD, RequestLimits


def request(path, chunks=(b"",), method="POST", announced=None):
    """Status of the answer, and the bytes that got to the application (None: it was not called)."""
    received, statuses = [], []

    async def application(scope, receive, send):
        received.append(b"")
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            received.append(message["body"])
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    messages = [
        {"type": "http.request", "body": chunk, "more_body": i < len(chunks) - 1} for i, chunk in enumerate(chunks)
    ]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    scope = {"type": "http", "path": path, "method": method, "headers": headers}
    asyncio.run(RequestLimits(application)(scope, receive, send))
    return statuses[0], b"".join(received) if received else None


def test_a_small_call_passes_as_it_is():
    body = json.dumps({"data": ["стул", {"path": "/somewhere/box.glb"}]}).encode()
    assert request("/gradio_api/queue/join", (body[:7], body[7:]), announced=len(body)) == (200, body)
    assert request("/config", method="GET") == (200, b"")
    assert request("/gradio_api/reset") == (200, b"")


@pytest.mark.parametrize("announced", [None, 10, MAX_BODY + 1])
def test_a_large_call_is_refused_whatever_it_announces(announced):
    chunks = (b"[" + b" " * MAX_BODY, b"]")
    assert request("/gradio_api/queue/join", chunks, announced=announced) == (413, None)


def test_a_large_upload_is_cut_off():
    status, received = request("/gradio_api/upload", [bytes(2**20)] * 40)
    assert status == 200 and MAX_UPLOAD <= len(received) <= MAX_UPLOAD + 2**17  # the application sees a client go
    assert request("/gradio_api/upload", announced=10**9) == (413, None)
    assert request("/gradio_api/upload/", [bytes(2**20)] * 25)[0] == 200


@pytest.mark.parametrize(("chunks", "statuses"), [(3, []), (40, [413])], ids=["cancelled", "too large"])
def test_an_upload_that_breaks_off_is_no_error(chunks, statuses):
    """By starlette's own reader of a request, as Gradio's parser uses it."""
    sent = []
    messages = [{"type": "http.request", "body": bytes(2**20), "more_body": True}] * chunks

    async def application(scope, receive, send):
        async for _ in Request(scope, receive).stream():
            pass

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.extend([message["status"]] if "status" in message else [])

    scope = {"type": "http", "path": "/gradio_api/upload", "method": "POST", "headers": []}
    asyncio.run(RequestLimits(application)(scope, receive, send))
    assert sent == statuses


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"path": "http://127.0.0.1/secret"}]},
        {"data": [[[{"path": " HTTPS://example.com/a.glb", "meta": {}}]]]},
    ],
)
def test_a_file_given_by_its_address_is_refused(body):
    assert request("/gradio_api/run/1", (json.dumps(body).encode(),)) == (403, None)


@pytest.mark.parametrize("prefix", ["", "/gradio_api", "/gradio_api/"])
@pytest.mark.parametrize(
    "path",
    [
        "/file=http://127.0.0.1/",
        "/file=HTTPS%3A//a",
        "/file=%2Fhttps%3A%2F%2Fa",
        "/proxy=http://a",
        "/file/http://127.0.0.1/",
        "/file/https://a/b",
        "/file/https:/a",
        "/file//https://a",
        "/file/%2F/https://a",
        "/FILE/HTTPS://a",
        "/file/https%3a//a",
        "/file%2Fhttps%3A%2F%2Fa",
    ],
)
def test_addresses_are_not_fetched(prefix, path):
    for method in ("GET", "HEAD"):
        assert request(prefix + path, method=method) == (403, None)


@pytest.mark.parametrize("name", ["https.glb", "file=http.glb", "chair https and more.glb"])
def test_files_that_only_sound_like_an_address_are_served(name):
    assert request(f"/gradio_api/file=/tmp/gradio/0f/{name}", method="GET")[0] == 200


def test_gradio_is_not_asked_for_an_address(monkeypatch):
    """By its own routes, which would fetch it."""
    import gradio
    from starlette.responses import PlainTextResponse

    fetched = []

    async def fetch(url, request):
        fetched.append(url)
        return PlainTextResponse("fetched")

    monkeypatch.setattr("gradio.routes.secure_url_stream_response", fetch)
    with gradio.Blocks(analytics_enabled=False) as blocks:
        pass
    app = gradio.routes.App.create_app(blocks)
    statuses = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        statuses.extend([message["status"]] if "status" in message else [])

    for application in (app, RequestLimits(app)):
        for route in ("file=", "file/"):
            path = f"/gradio_api/{route}https://example.com/x"
            scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": ""}
            scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
            asyncio.run(application(scope, receive, send))
    assert fetched == ["https://example.com/x"] * 2 and statuses == [200, 200, 403, 403]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(body):
    assert request("/gradio_api/queue/join", (body,)) == (400, None)
