"""A stand-in for the Hub, to which commands push while they are killed: the tests' own, with slow answers."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torture_parts.processes import ROOT


sys.path.insert(0, str(ROOT / "tests"))
from support.hub_server import Blob, HubServer, Repository, environment  # noqa: E402


# Seconds that each answer takes, so that a push has moments at which it can be killed.
PAUSE = 0.15


class Hub:
    """A repository for each output that a command would have."""

    def __init__(self, server: HubServer) -> None:
        self.server = server

    def name(self, out: Path) -> str:
        return f"alice/{out.parent.name.replace(' ', '-')}"

    def add_old(self, out: Path) -> None:
        """Let it have an earlier version."""
        repository = Repository("models", self.name(out), private=False)
        repository.add_commit("refs/heads/main", {"README.md": Blob(b"An earlier version.\n", is_large=False)}, "old")
        self.server.repositories["models", self.name(out)] = repository

    def digests(self, out: Path) -> dict[str, str]:
        """Digests of what was pushed to its main branch, by their paths; none where it is not there."""
        repository = self.server.repositories.get(("models", self.name(out)))
        if repository is None or repository.commit("main") is None:
            return {}
        files = repository.files()
        files.pop(".gitattributes", None)  # the Hub's own
        return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}

    def num_requests(self) -> int:
        return len(self.server.requests)


@contextmanager
def serve_hub(home: Path) -> Iterator[tuple[Hub, dict[str, str]]]:
    """Serve until the block ends; yields it, and the environment of commands that are to find it."""
    server = HubServer()
    server.pause = PAUSE
    with server.running() as address:
        yield Hub(server), environment(address, home)
