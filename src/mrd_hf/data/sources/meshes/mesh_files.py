"""Where the files of a mesh collection are: a folder on the disk, or a zip file of one, which is read in place.

Both answer alike: which files there are, and what is in one of them. What a mesh names besides (textures, material
libraries, buffers) is looked up in the same collection and nowhere else.
"""

import io
import posixpath
import re
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from ....errors import UserError
from ....files.digests import change_stamp
from ....files.walking import files_below, is_hidden
from ....models.left_out_parts import SEEN, PartChoice
from ....models.mesh_loading import AssetResolver, read_mesh, spelled_on_disk
from ....models.shape_limits import check_size
from ....models.shapes import MeshError, TexturedMesh
from ....models.zip_members import leads_out, read_member, without_case


class MeshFiles:
    """The files of a folder or a zip file.

    Args:
        source (`str` or `Path`): A folder, or a file that ends in .zip.

    Raises:
        UserError: There is no such folder or file, or it is no zip file.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = Path(source)
        self._zip: zipfile.ZipFile | None = None
        # Files from Windows name each other in any letter case.
        self._without_case: dict[str, list[zipfile.ZipInfo]] = {}
        if self.source.is_file() and self.source.suffix.lower() == ".zip":
            try:
                self._zip = zipfile.ZipFile(self.source)
                for info in self._zip.infolist():
                    self._without_case.setdefault(without_case(_path_of(info)), []).append(info)
            except zipfile.BadZipFile as error:
                raise UserError(f"{source}: not a zip file ({error}).") from error
        elif not self.source.is_dir():
            raise UserError(f"{source}: no such folder; expected a folder of meshes, or a .zip file of one.")

    def names(self) -> list[str]:
        """The paths of all files, with /, in order. Hidden ones (.DS_Store, ._chair.glb) and __MACOSX are left out."""
        if self._zip is not None:
            names = [path for info in self._zip.infolist() if not (path := _path_of(info)).endswith("/")]
        else:
            names = [path.as_posix() for path in files_below(self.source, hidden=False)]
        return sorted({name for name in names if not any(map(is_hidden, re.split(r"[/\\]", name)))})

    def read(self, name: str) -> bytes | None:
        """Content of a file by its path, None where there is none.

        Raises:
            PermissionError: The path leads out of the collection.
            OSError: The file cannot be read, is damaged, or too large.
        """
        if leads_out(name):
            raise PermissionError(f"only what lies in {self.source.name} is")
        if self._zip is None:
            path = spelled_on_disk(self.source / name, self.source)
            if path is None or not path.is_file():
                return None
            _check_size(path.stat().st_size)
            return path.read_bytes()
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            same = self._without_case.get(without_case(name), [])
            if len(same) != 1:
                return None
            info = same[0]
        _check_size(info.compress_size, info.file_size)
        try:
            return read_member(self._zip, info)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise OSError(f"damaged or not readable ({error})") from error

    def load_mesh(self, name: str, choice: PartChoice = SEEN) -> TexturedMesh:
        """Read a mesh by its path, those of its parts that are chosen.

        Raises:
            MeshError: It is missing, leads out of the folder, cannot be read or has no surface.
        """
        if leads_out(name):
            raise MeshError(f"{name}: leads out of {self.source.name}, so it is not read.")
        try:
            data = self.read(name)
        except OSError as error:
            raise MeshError(f"{name}: {error}.") from error
        if data is None:
            raise MeshError(f"{name}: no such file in {self.source.name}.")
        resolver = AssetResolver(posixpath.dirname(name), self.read)
        return read_mesh(io.BytesIO(data), posixpath.splitext(name)[1][1:], resolver, name, choice)


def open_mesh_files(source: str) -> MeshFiles:
    """[`MeshFiles`], opened once a process for as long as the file is the same."""
    return _open_mesh_files(source, change_stamp(source))


@lru_cache(maxsize=1)
def _open_mesh_files(source: str, stamp: tuple[int, int] | None) -> MeshFiles:
    return MeshFiles(source)


def _path_of(info: zipfile.ZipInfo) -> str:
    """A file's path with /; some Windows programs write backslashes."""
    return info.filename.replace("\\", "/")


def _check_size(size: int, unpacked: int = 0) -> None:
    try:
        check_size(size, unpacked)
    except ValueError as error:
        raise OSError(str(error)) from error
