"""The files of a .tar.gz archive one after the other, read once from its start, as compressed archives are.

Nothing is unpacked to the disk, so names in an archive, links and devices cannot reach it. Unlike Python's `tarfile`,
this neither reads what an archive's headers claim to be large nor remembers what has gone by.
"""

import gzip
import tarfile
import zlib
from pathlib import Path


# Several times OpenShape's largest archive.
MAX_ARCHIVE_BYTES = 2**37
# Headers that hold a long name.
MAX_HEADER_BYTES = 2**16
# Of the length of a record in one.
MAX_DIGITS = 8

_BLOCK = 512
_CHUNK = 2**20
_LONG_NAME = (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE)
_WITHOUT_CONTENT = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


class BrokenArchive(Exception):
    """An archive that cannot be read on: the reason, and what to do."""


class TarStream:
    """An opened archive.

    Args:
        path (`Path`): The .tar.gz file.

    Raises:
        BrokenArchive: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Closed by `close`.
            self._stream = gzip.open(path)  # noqa: SIM115
        except OSError as error:
            raise BrokenArchive(f"cannot be opened ({error.strerror})") from None
        self._total = 0
        self._content_left = 0
        self._padding = 0
        self.size = 0

    def close(self) -> None:
        self._stream.close()

    def next(self) -> str | None:
        """Go on to the next regular file; its name, or None at the end. `size` is then its size in bytes.

        Raises:
            BrokenArchive: The archive is cut off, damaged or unpacks to more than `MAX_ARCHIVE_BYTES`.
        """
        long_name = None
        while True:
            self._skip(self._content_left + self._padding)
            self._content_left = self._padding = 0
            block = self._read(_BLOCK)
            if not any(block):
                return None
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                raise BrokenArchive(f"is damaged ({error}); download it again") from None
            if header.size < 0:
                raise BrokenArchive("is damaged (a negative size); download it again")
            if header.type in _WITHOUT_CONTENT:
                long_name = None
                continue
            self._content_left, self._padding = header.size, -header.size % _BLOCK
            if header.type in _LONG_NAME:
                if header.size > MAX_HEADER_BYTES:
                    raise BrokenArchive(f"is damaged (a header of {header.size} bytes); download it again")
                long_name = _long_name(header.type, self.read()) or long_name
            elif header.type in tarfile.REGULAR_TYPES and header.type != tarfile.GNUTYPE_SPARSE:
                self.size = header.size
                return long_name or header.name
            elif header.type != tarfile.GNUTYPE_LONGLINK:
                long_name = None

    def read(self) -> bytes:
        """The content of the file that [`TarStream.next`] named, once; look at `size` first.

        Raises:
            BrokenArchive: The archive is cut off or damaged.
        """
        content = self._read(self._content_left)
        self._content_left = 0
        return content

    def _read(self, size: int) -> bytes:
        self._total += size
        if self._total > MAX_ARCHIVE_BYTES:
            raise BrokenArchive(f"unpacks to more than {MAX_ARCHIVE_BYTES} bytes")
        try:
            content = self._stream.read(size)
        except EOFError:
            content = b""
        except (OSError, zlib.error) as error:
            raise BrokenArchive(f"is damaged ({error}); download it again") from None
        if len(content) < size:
            raise BrokenArchive("breaks off; download it again")
        return content

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self._read(min(size, _CHUNK)))


def _long_name(kind: bytes, content: bytes) -> str | None:
    """The name in a header that holds one; a pax header may hold other things only."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    # Records of "length key=value\n".
    start = 0
    while start < len(content):
        space = content.find(b" ", start, start + MAX_DIGITS + 1)
        digits = content[start:space] if space > 0 else b""
        end = start + int(digits) if digits.isdigit() else 0
        if not start < space < end <= len(content):
            raise BrokenArchive("is damaged (a pax header); download it again")
        record = content[space + 1 : end - 1]
        if record.startswith(b"path="):
            return record[5:].decode("utf-8", "surrogateescape")
        start = end
    return None
