"""How far a run of an ablation is: one small file in its folder, written when training starts and as stages end."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import torch

from ...errors import UserError
from ...files.atomic_file import atomic_file


STATUS_FILE = "status.json"


@dataclass
class Status:
    """How far a run is.

    Args:
        fingerprint (`str`): Of what it was told; see [`~mrd_hf.training.ablation.planning.fingerprint`].
        seconds (`dict` of `float`): Of each stage that is done (`pretrain`, `validation`, `test`), how long it took;
            None where it went on with what an interrupted one had done.
        failed (`dict` of `str`): Of each stage that failed, the end of its log.
        version (`str`): Of this package, as it was at the last stage.
        code (`str`): Digest of this package's files, as they were at the last stage; empty of earlier versions.
        threads (`int`): Of its processes.
        device (`str`): The kind that it runs on, such as `cuda`.
        cpu (`str`, *optional*): Of a run on CPUs, the vector instructions of the one that trained it, such as `AVX2`,
            which round differently; of a run that went on elsewhere, all of them. None of earlier versions.
    """

    fingerprint: str
    seconds: dict[str, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    version: str = ""
    code: str = ""
    threads: int = 1
    device: str = "cpu"
    cpu: str | None = None

    def note_cpu(self, resumed: bool) -> None:
        """When training starts on this machine, or resumes what was done on one that may be another."""
        if self.device != "cpu" or (resumed and self.cpu is None):
            return
        here = torch.backends.cpu.get_cpu_capability()
        before = self.cpu.split(", ") if resumed and self.cpu else []
        self.cpu = ", ".join(dict.fromkeys([*before, here]))

    def save(self, folder: Path) -> None:
        with atomic_file(folder / STATUS_FILE) as sink:
            sink.write((json.dumps(asdict(self), indent=2) + "\n").encode())


def read_status(folder: Path) -> Status | None:
    """A run's status; None where it has not begun.

    Raises:
        UserError: The file is damaged; the message names it.
    """
    file = folder / STATUS_FILE
    try:
        return Status(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError, OSError) as error:
        raise UserError(f"{file}: no status of a run ({error}); delete {folder} to run it again.") from None


def checked_status(folder: Path, fingerprint: str, threads: int, device: str = "cpu") -> Status:
    """A run's status, or that of one that has not begun.

    Raises:
        UserError: The folder has a run of other settings, which is not to be lost.
    """
    status = read_status(folder)
    if status is None:
        return Status(fingerprint, threads=threads, device=device)
    check_fingerprint(folder, status, fingerprint)
    return status


def check_fingerprint(folder: Path, status: Status, fingerprint: str) -> None:
    """Refuse a run that was not told what it would be told now.

    Raises:
        UserError: It has other settings, data or threads, or is of another kind of device.
    """
    if status.fingerprint != fingerprint:
        raise UserError(
            f"{folder}: has a run of other settings, data, --threads or kind of device; name another --output, or "
            "delete it to run it again."
        )


@cache
def code_digest() -> str:
    """Of the Python files of this package, by which results of one version are told from those of another."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()
