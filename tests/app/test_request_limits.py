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


@pytest.mark.parametrize(
    "path", ["/gradio_api/file=http://127.0.0.1/", "/gradio_api/file=HTTPS%3A//a", "/gradio_api/proxy=http://a"]
)
def test_addresses_are_not_fetched(path):
    assert request(path, method="GET") == (403, None)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(body):
    assert request("/gradio_api/queue/join", (body,)) == (400, None)
