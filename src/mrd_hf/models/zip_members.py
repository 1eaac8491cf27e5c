"""Files in zip files, which are read in memory, whole, and nowhere else: nothing is unpacked onto the disk."""

import io
import posixpath
import re
import unicodedata
import zipfile
import zlib

from .shape_limits import check_size


MAX_MEMBERS = 100_000


class ZipMembers:
    """The files of a zip file by their paths, with /, however the zip file writes them.

    Args:
        data (`bytes`): The zip file.

    Raises:
        ValueError: It is none, or damaged.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise ValueError(f"it is no zip file, or a damaged one ({error})") from error
        if len(self._zip.infolist()) > MAX_MEMBERS:
            raise ValueError(f"a zip file of {len(self._zip.infolist()):,} files; at most {MAX_MEMBERS:,} are read")
        self.size = len(data)
        self._unpacked = 0
        # Some Windows programs write backslashes.
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            path = member.filename.replace("\\", "/")
            if not path.endswith("/"):
                self._members[path] = member
        self._without_case: dict[str, list[str]] | None = None

    def names(self) -> list[str]:
        """All files, sorted. Hidden ones (.DS_Store, ._chair.glb), __MACOSX and paths that lead out are left out."""
        return sorted(self.in_order())

    def in_order(self) -> list[str]:
        """The same, in the order in which the zip file has them."""
        return [name for name in self._members if not leads_out(name) and not any(map(_is_hidden, name.split("/")))]

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None where there is none. Case does not count where it tells no files apart.

        Raises:
            ValueError: It is too large once unpacked, alone or with those that were read before; or damaged.
        """
        member = self._members.get(name) or self._alike(name)
        if member is None:
            return None
        self._unpacked += member.file_size
        check_size(self.size, self._unpacked)
        try:
            return read_member(self._zip, member)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise ValueError(f"{name} in the zip file is damaged or cannot be read ({error})") from error

    def _alike(self, name: str) -> zipfile.ZipInfo | None:
        """The only file whose path differs in case at most."""
        if self._without_case is None:
            self._without_case = {}
            for path in self._members:
                self._without_case.setdefault(without_case(path), []).append(path)
        alike = self._without_case.get(without_case(name), [])
        return self._members[alike[0]] if len(alike) == 1 else None


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Content of a file in a zip file: at most as many bytes as the zip file says it has, see [`check_size`].

    Raises:
        NotImplementedError: It is packed by another method than deflate; Python bounds the output of no other.
        Exception: What else `ZipFile.read` raises for a damaged one.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError("it is not packed by deflate; pack it again by that")
    with archive.open(member) as file:
        # Without a count, Python would unpack up to a gigabyte before it cuts that to what the zip file says.
        return file.read(member.file_size)


def without_case(name: str) -> str:
    """A name as it compares on systems where case, and accents in one part or in two, do not count."""
    return unicodedata.normalize("NFC", name).casefold()


def leads_out(name: str) -> bool:
    """Whether a path, with /, is absolute or leads out of the folder that it starts from."""
    normalized = posixpath.normpath(name.replace("\\", "/"))
    return normalized.startswith(("/", "../")) or normalized == ".." or re.match("[A-Za-z]:", normalized) is not None


def _is_hidden(part: str) -> bool:
    return (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX"
