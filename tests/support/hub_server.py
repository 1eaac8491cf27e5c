"""A small server that speaks those of the Hub's routes that huggingface_hub, transformers and datasets use.

Everything is in memory: repositories with branches, pull requests and commits, and storage for large files. Uploads go
through the Git LFS protocol, as on the Hub without Xet: set `HF_HUB_DISABLE_XET=1` beside `HF_ENDPOINT`.
"""

import base64
import hashlib
import itertools
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
import yaml
from huggingface_hub import constants


# As the Hub: these are large files whatever their size, and others from 10 MB on.
LARGE_SUFFIXES = (".safetensors", ".parquet", ".bin", ".glb")
WRITER = "hf_" + "writer" * 6
READER = "hf_" + "reader" * 6
# Whose tokens they are: name, organizations, role.
USERS = {WRITER: ("alice", ["org"], "write"), READER: ("bob", [], "read")}


@dataclass(frozen=True)
class Blob:
    content: bytes
    is_large: bool

    @property
    def oid(self) -> str:
        """What identifies it: SHA-256 of a large file, Git's SHA-1 of others."""
        if self.is_large:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class Repository:
    """`commits` by their ids: the files of each; `refs`: a branch or pull request's latest commit."""

    kind: str
    name: str
    private: bool
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def add_commit(self, ref: str, files: dict[str, Blob], message: str) -> str:
        oid = hashlib.sha1(f"{self.kind} {self.name} {len(self.commits)} {message}".encode()).hexdigest()
        self.commits[oid] = files
        self.refs[ref] = oid
        self.messages.append(message)
        return oid

    def commit(self, revision: str) -> str | None:
        """The commit that a branch, a pull request or a commit's own id names."""
        if revision in self.commits:
            return revision
        return self.refs.get(revision) or self.refs.get(f"refs/heads/{revision}")

    def files(self, revision: str = "main") -> dict[str, bytes]:
        commit = self.commit(revision)
        assert commit is not None
        return {path: blob.content for path, blob in self.commits[commit].items()}


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends, or is killed, in the middle of a request is no error of the server's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HubServer:
    """The server's state; requests run in threads of their own.

    Attributes:
        repositories: By kind ("models", "datasets", "spaces") and name.
        storage: Large files by their SHA-256.
        uploaded: How often each large file came in whole, by its SHA-256.
        requests: Method and path of each.
        break_uploads_after: Bytes of large files after which connections break, one for each upload that is to.
        pause: Seconds that each answer takes longer.
        port: Where it listens, while it runs.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.storage: dict[str, bytes] = {}
        self.uploaded: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.break_uploads_after: list[int] = []
        self.pause = 0.0
        self.port = 0
        self.lock = threading.Lock()
        self.pull_requests = itertools.count(1)

    def repository(self, name: str, kind: str = "models") -> Repository:
        return self.repositories[kind, name]

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve until the block ends; yields the address."""
        server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        server.daemon_threads = True
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@contextmanager
def in_the_hubs_place(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[HubServer]:
    """A server in the Hub's place, for this process, logged in as one who may write to alice/ and org/."""
    server = HubServer()
    with server.running() as address:
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
        # Its waits between attempts are seconds.
        patch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        patch.setenv("HF_TOKEN", WRITER)
        yield server


def environment(address: str, home: Path) -> dict[str, str]:
    """That of a process of its own for which the server is the Hub, with nothing cached."""
    names = {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": WRITER, "HF_HUB_OFFLINE": "0"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**kept, **names, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}


class Refusal(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer_request()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def answer_request(self) -> None:
        self.url = urlsplit(self.path)
        self.hub.requests.append((self.command, self.path))
        time.sleep(self.hub.pause)
        # Revisions like refs/pr/1 come quoted, so the path is parted before it is unquoted.
        self.parts = [unquote(part) for part in self.url.path.strip("/").split("/")]
        self.query = {key: values[0] for key, values in parse_qs(self.url.query).items()}
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.user = USERS.get(token)
        if token and self.user is None:
            self.consume()
            return self.refuse(Refusal(401, "Invalid credentials in Authorization header"))
        try:
            for method, pattern, action in ROUTES:
                found = re.fullmatch(pattern, self.url.path)
                if method == self.command and found:
                    return action(self, **{k: unquote(v) for k, v in found.groupdict(default="").items()})
            self.consume()
            self.refuse(Refusal(404, f"no such route: {self.command} {self.path}"))
        except Refusal as refusal:
            self.refuse(refusal)

    # What comes in and goes out.

    def body(self) -> Iterator[bytes]:
        """The request's content, as it comes."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        missing = int(self.headers.get("Content-Length", 0))
        while missing and (data := self.rfile.read(min(missing, 2**14))):
            missing -= len(data)
            yield data

    def consume(self) -> bytes:
        return b"".join(self.body())

    def json(self) -> Any:
        return json.loads(self.consume())

    def send(self, content: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(value).encode(), status, **headers)

    def refuse(self, refusal: Refusal) -> None:
        headers = {"X-Error-Message": str(refusal)}
        if refusal.code is not None:
            headers["X-Error-Code"] = refusal.code
        self.send_json({"error": str(refusal)}, refusal.status, **headers)

    def send_content(self, content: bytes, **headers: str) -> None:
        """The whole of a file, or the range of it that is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self.send(content, 200, "application/octet-stream", Accept_Ranges="bytes", **headers)
        start, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        if start >= len(content):
            return self.send(b"", 416, Content_Range=f"bytes */{len(content)}")
        place = f"bytes {start}-{end}/{len(content)}"
        self.send(content[start : end + 1], 206, "application/octet-stream", Content_Range=place, **headers)

    # Who may what.

    def readable(self, kind: str, name: str) -> Repository:
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self.may_write(name)):
            # As the Hub: whether a private repository is there is not for strangers to know.
            raise Refusal(404 if self.user else 401, "Repository not found", "RepoNotFound")
        return repository

    def may_write(self, name: str) -> bool:
        return self.user is not None and name.split("/")[0] in (self.user[0], *self.user[1])

    def writable(self, kind: str, name: str, by_pull_request: bool = False) -> Repository:
        repository = self.readable(kind, name)
        if self.user is None:
            raise Refusal(401, "log in")
        if self.user[2] != "write" or not (by_pull_request or self.may_write(name)):
            raise Refusal(403, f"you have no right to write to {name}")
        return repository

    def files(self, repository: Repository, revision: str) -> tuple[str, dict[str, Blob]]:
        commit = repository.commit(revision)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit, repository.commits[commit]

    # Routes.

    def whoami(self) -> None:
        if self.user is None:
            raise Refusal(401, "log in")
        name, organizations, role = self.user
        orgs = [{"name": organization, "type": "org"} for organization in organizations]
        self.send_json({"type": "user", "name": name, "orgs": orgs, "auth": {"accessToken": {"role": role}}})

    def validate_card(self) -> None:
        content = self.json()["content"]
        front = re.match(r"---\r?\n(.*?)\r?\n---", content, flags=re.DOTALL)
        try:
            data = yaml.safe_load(front[1]) if front else None
        except yaml.YAMLError as error:
            return self.send_json({"errors": [{"message": str(error)}], "warnings": []}, 400)
        warnings = [] if data else [{"message": "empty or missing yaml metadata in repo card"}]
        self.send_json({"errors": [], "warnings": warnings})

    def create_repository(self) -> None:
        asked = self.json()
        if self.user is None:
            raise Refusal(401, "log in")
        name = f"{asked.get('organization') or self.user[0]}/{asked['name']}"
        if self.user[2] != "write" or not self.may_write(name):
            raise Refusal(403, f"You don't have the rights to create a {asked['type']} under this namespace")
        kind = asked.get("type", "model") + "s"
        url = f"http://{self.headers['Host']}/{'' if kind == 'models' else f'{kind}/'}{name}"
        with self.hub.lock:
            if (kind, name) in self.hub.repositories:
                return self.send_json({"error": "You already created this repo", "url": url}, 409)
            private = asked.get("visibility") == "private" or asked.get("private") is True
            repository = Repository(kind, name, private)
            repository.add_commit("refs/heads/main", {".gitattributes": Blob(b"", False)}, "initial commit")
            self.hub.repositories[kind, name] = repository
        self.send_json({"url": url, "name": name})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        asked = self.json()
        repository = self.writable(kind, name, by_pull_request="create_pr" in self.query)
        _, files = self.files(repository, revision)
        answers = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if _is_large(file["path"], file["size"]) else "regular",
                "shouldIgnore": False,
                "oid": files[file["path"]].oid if file["path"] in files else None,
            }
            for file in asked["files"]
        ]
        self.send_json({"files": answers})

    def large_files(self, prefix: str, name: str) -> None:
        asked = self.json()
        self.writable(prefix.rstrip("/") or "models", name, by_pull_request=True)
        address = f"http://{self.headers['Host']}/lfs/{quote(name, safe='')}"
        objects = [
            {"oid": o["oid"], "size": o["size"]}
            if o["oid"] in self.hub.storage
            else {
                **{"oid": o["oid"], "size": o["size"]},
                "actions": {
                    "upload": {"href": f"{address}/{o['oid']}"},
                    "verify": {"href": f"{address}/{o['oid']}/verify"},
                },
            }
            for o in asked["objects"]
        ]
        self.send_json({"transfer": "basic", "objects": objects})

    def store(self, name: str, oid: str) -> None:
        with self.hub.lock:
            limit = self.hub.break_uploads_after.pop(0) if self.hub.break_uploads_after else None
        content = bytearray()
        for data in self.body():
            content += data
            if limit is not None and len(content) >= limit:
                self.close_connection = True
                self.connection.close()
                return
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(400, "the content is not what was announced")
        with self.hub.lock:
            self.hub.storage[oid] = bytes(content)
            self.hub.uploaded[oid] += 1
        self.send(b"")

    def verify(self, name: str, oid: str) -> None:
        asked = self.json()
        if len(self.hub.storage.get(oid, b"")) != asked["size"]:
            raise Refusal(404, "not stored")
        self.send_json({})

    def commit(self, kind: str, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.consume().splitlines()]
        create_pr = self.query.get("create_pr") == "1"
        repository = self.writable(kind, name, by_pull_request=create_pr)
        with self.hub.lock:
            _, old = self.files(repository, revision)
            files, message = dict(old), ""
            for line in lines:
                value = line["value"]
                if line["key"] == "header":
                    message = value["summary"]
                elif line["key"] == "file":
                    files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
                elif line["key"] == "lfsFile":
                    if value["oid"] not in self.hub.storage:
                        raise Refusal(400, f"{value['path']} has not been uploaded")
                    files[value["path"]] = Blob(self.hub.storage[value["oid"]], True)
                elif line["key"] == "deletedFile":
                    if value["path"] not in old:
                        raise Refusal(404, f"{value['path']} does not exist", "EntryNotFound")
                    del files[value["path"]]
                else:
                    raise Refusal(400, f"unknown operation {line['key']}")
            number = next(self.hub.pull_requests) if create_pr else None
            heads = f"refs/heads/{revision}"
            ref = f"refs/pr/{number}" if create_pr else heads if heads in repository.refs else revision
            oid = repository.add_commit(ref, files, message)
        address = f"http://{self.headers['Host']}/{'' if kind == 'models' else f'{kind}/'}{name}"
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{address}/commit/{oid}"}
        if create_pr:
            answer["pullRequestUrl"] = f"{address}/discussions/{number}"
        self.send_json(answer)

    def create_branch(self, kind: str, name: str, branch: str) -> None:
        start = (json.loads(self.consume() or b"{}")).get("startingPoint", "main")
        repository = self.writable(kind, name)
        if branch.startswith("refs/"):
            raise Refusal(400, f"invalid name of a branch: {branch}")
        commit, _ = self.files(repository, start)
        with self.hub.lock:
            if f"refs/heads/{branch}" in repository.refs:
                raise Refusal(409, f"Reference already exists: {branch}")
            repository.refs[f"refs/heads/{branch}"] = commit
        self.send_json({})

    def refs(self, kind: str, name: str) -> None:
        refs = self.readable(kind, name).refs
        kinds: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
        for ref, commit in refs.items():
            group = "branches" if ref.startswith("refs/heads/") else "pullRequests"
            short = ref.removeprefix("refs/heads/") if group == "branches" else ref
            kinds[group].append({"name": short, "ref": ref, "targetCommit": commit})
        self.send_json(kinds)

    def info(self, kind: str, name: str, revision: str = "") -> None:
        repository = self.readable(kind, name)
        commit, files = self.files(repository, revision or "main")
        self.send_json(
            {
                "id": name,
                "modelId": name,
                "sha": commit,
                "private": repository.private,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "siblings": [{"rfilename": path} for path in sorted(files)],
            }
        )

    def tree(self, kind: str, name: str, revision: str, folder: str = "") -> None:
        _, files = self.files(self.readable(kind, name), revision)
        prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        inside = {path: blob for path, blob in files.items() if path.startswith(prefix)}
        if prefix and not inside:
            raise Refusal(404, f"{folder} does not exist on '{revision}'", "EntryNotFound")
        recursive = self.query.get("recursive", "").lower() in ("true", "1")
        self.send_json(_listing(inside, prefix, recursive))

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        text = self.consume().decode()
        is_json = "json" in self.headers.get("Content-Type", "")
        paths = json.loads(text)["paths"] if is_json else parse_qs(text).get("paths", [])
        _, files = self.files(self.readable(kind, name), revision)
        entries = {entry["path"]: entry for entry in _listing(files, "", recursive=True)}
        self.send_json([entries[path] for path in paths if path in entries])

    def resolve(self, prefix: str, name: str, revision: str, path: str) -> None:
        commit, files = self.files(self.readable(prefix.rstrip("/") or "models", name), revision)
        if path not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": commit}
            return self.send_json({"error": "Entry not found"}, 404, **headers)
        blob = files[path]
        tag = f'"{blob.oid}"'
        if not blob.is_large:
            return self.send_content(blob.content, ETag=tag, X_Repo_Commit=commit)
        # Large files are on another host, which needs no token.
        self.send(
            b"",
            302,
            Location=f"http://localhost:{self.hub.port}/storage/{blob.oid}",
            X_Repo_Commit=commit,
            X_Linked_Etag=tag,
            X_Linked_Size=str(len(blob.content)),
        )

    def stored(self, oid: str) -> None:
        self.send_content(self.hub.storage[oid], ETag=f'"{oid}"')


def _is_large(path: str, size: int) -> bool:
    return path.endswith(LARGE_SUFFIXES) or size > 10_000_000


def _listing(files: dict[str, Blob], prefix: str, recursive: bool) -> list[dict[str, Any]]:
    """What is in a folder, or in those below as well: files and folders."""
    entries: dict[str, dict[str, Any]] = {}
    for path, blob in sorted(files.items()):
        steps = path.removeprefix(prefix).split("/")
        for depth in range(1, len(steps)):
            inner = prefix + "/".join(steps[:depth])
            if recursive or depth == 1:
                oid = hashlib.sha1(inner.encode()).hexdigest()
                entries[inner] = {"type": "directory", "path": inner, "oid": oid, "size": 0}
        if recursive or len(steps) == 1:
            entry: dict[str, Any] = {"type": "file", "path": path, "oid": blob.oid, "size": len(blob.content)}
            if blob.is_large:
                entry["lfs"] = {"oid": blob.oid, "size": len(blob.content), "pointerSize": 130}
            entries[path] = entry
    return list(entries.values())


REPO = r"(?P<name>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>models|datasets|spaces)/{REPO}"
FILES = rf"/(?P<prefix>(?:datasets/|spaces/)?){REPO}"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/validate-yaml", Handler.validate_card),
    ("POST", r"/api/repos/create", Handler.create_repository),
    ("POST", rf"{API}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    ("POST", rf"{API}/commit/(?P<revision>[^/]+)", Handler.commit),
    ("POST", rf"{API}/branch/(?P<branch>[^/]+)", Handler.create_branch),
    ("POST", rf"{API}/paths-info/(?P<revision>[^/]+)", Handler.paths_info),
    ("GET", rf"{API}/refs", Handler.refs),
    ("GET", rf"{API}/tree/(?P<revision>[^/]+)(?P<folder>/.*)?", Handler.tree),
    ("GET", rf"{API}/revision/(?P<revision>[^/]+)", Handler.info),
    ("GET", API, Handler.info),
    ("POST", rf"{FILES}\.git/info/lfs/objects/batch", Handler.large_files),
    ("PUT", r"/lfs/(?P<name>[^/]+)/(?P<oid>[0-9a-f]+)", Handler.store),
    ("POST", r"/lfs/(?P<name>[^/]+)/(?P<oid>[0-9a-f]+)/verify", Handler.verify),
    *((method, rf"{FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve) for method in ("GET", "HEAD")),
    *((method, r"/storage/(?P<oid>[0-9a-f]+)", Handler.stored) for method in ("GET", "HEAD")),
]
