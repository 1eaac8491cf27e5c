"""What a download of OpenShape's training data holds, and how its shapes are found in it.

The download is that of the Hub's dataset OpenShape/openshape-training-data: `meta_data.zip`, and one pickled .npy a
shape in `Objaverse/000-000.tar.gz` to `000-159`, `ShapeNet.tar.gz`, `3D-FUTURE.tar.gz` and `ABO.tar.gz`; each may be
unpacked already. The lists of shapes name files by their paths on the authors' disk, of which the tail
`<dataset>/<group>/<id>.npy` holds anywhere.
"""

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files.tar_stream import BrokenArchive, TarStream
from ...models.zip_members import read_member
from .published_fields import check_items, read_file


# A hundred times the file of a shape.
MAX_FILE_BYTES = 2**26
# Several times the longest list.
MAX_META_DATA_BYTES = 2**31


@dataclass(frozen=True)
class ListedShape:
    """A shape of a split.

    Args:
        key (`str`): `<dataset>/<group>/<id>`.
        path (`str`): Of its file on the authors' disk.
        keep_name (`bool`): Whether its name is one of its texts; GPT-4 rejected the names of many.
        category (`str`, *optional*): Of Objaverse-LVIS.
    """

    key: str
    path: str
    keep_name: bool
    category: str | None


@dataclass(frozen=True)
class FoundShape:
    """A shape's file, or the reason why there is none.

    Args:
        key (`str`): `<dataset>/<group>/<id>`.
        content (`bytes`, *optional*): Of the file.
        problem (`str`, *optional*): Why there is no content.
    """

    key: str
    content: bytes | None = None
    problem: str | None = None


class MetaData:
    """The lists of a download, in its folder `meta_data` or in `meta_data.zip`.

    Raises:
        UserError: There is neither, or the latter is no zip file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._zip = folder / "meta_data", folder / "meta_data.zip"
        if self._folder.is_dir():
            self._names = {path.relative_to(self._folder).as_posix(): "" for path in self._folder.rglob("*.json")}
        elif self._zip.is_file():
            try:
                with zipfile.ZipFile(self._zip) as archive:
                    self._names = {name.removeprefix("meta_data/"): name for name in archive.namelist()}
            except zipfile.BadZipFile as error:
                raise UserError(f"{self._zip}: is no zip file ({error}); download it again.") from None
        else:
            raise UserError(
                f"{folder}: has neither meta_data nor meta_data.zip, which lists the shapes; expected the folder of "
                "the download of OpenShape/openshape-training-data."
            )

    def shapes(self, split: str) -> list[ListedShape]:
        """The shapes of a split, in the order of its list.

        Raises:
            UserError: There is no such split, or one of the lists is damaged; the message names file and field.
        """
        splits = {name.rpartition("/")[2].removesuffix(".json"): name for name in self._names if _lists_split(name)}
        if split not in splits:
            raise UserError(f"{self._folder}: has no split '{split}'; it has {', '.join(sorted(splits)) or 'none'}.")
        items = self._items(splits[split], ("id", "data_path"))
        if not items:
            raise UserError(f"{self._folder / splits[split]}: lists no shape.")
        rejected, categories = self._rejected_names(), self._categories()
        shapes = []
        for number, item in enumerate(items):
            tail = item["data_path"].split("/")[-3:]
            if len(tail) < 3 or not {"", ".", ".."}.isdisjoint(tail) or not _is_npy(item["data_path"]):
                raise UserError(
                    f"{self._folder / splits[split]}: entry {number}: 'data_path' is {item['data_path']!r}; expected "
                    "a path that ends in <dataset>/<group>/<id>.npy."
                )
            key = "/".join(tail).removesuffix(".npy")
            is_objaverse = tail[0] == "Objaverse"
            keep_name = not (is_objaverse and item["id"] in rejected)
            category = categories.get(item["id"]) if is_objaverse else None
            shapes.append(ListedShape(key, item["data_path"], keep_name, category))
        return shapes

    def _rejected_names(self) -> set[str]:
        """Ids of the shapes whose names say nothing about them."""
        name = "gpt4_filtering.json"
        found = self._read(name)
        if not isinstance(found, dict):
            raise UserError(f"{self._folder / name}: expected a dictionary of ids.")
        for uid, verdict in found.items():
            if not (isinstance(verdict, dict) and isinstance(verdict.get("flag"), str)):
                raise UserError(f"{self._folder / name}: the entry of '{uid}' has no text as its 'flag'.")
        return {uid for uid, verdict in found.items() if verdict["flag"] == "N"}

    def _categories(self) -> dict[str, str]:
        if "split/lvis.json" not in self._names:
            return {}
        return {item["uid"]: item["category"] for item in self._items("split/lvis.json", ("uid", "category"))}

    def _items(self, name: str, fields: Sequence[str]) -> list[dict[str, str]]:
        """The entries of a list, each of which has text for the fields."""
        return check_items(self._read(name), fields, self._folder / name)

    def _read(self, name: str) -> Any:
        where = self._folder / name
        if name not in self._names:
            raise UserError(f"{self._folder}: has no {name}; download meta_data.zip again.")
        try:
            if self._names[name]:
                with zipfile.ZipFile(self._zip) as archive:
                    member = archive.getinfo(self._names[name])
                    size = member.file_size
                    content = read_member(archive, member) if size <= MAX_META_DATA_BYTES else b""
            else:
                size = where.stat().st_size
                content = where.read_bytes() if size <= MAX_META_DATA_BYTES else b""
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"{where}: cannot be read ({error}); download meta_data.zip again.") from None
        if size > MAX_META_DATA_BYTES:
            raise UserError(f"{where}: has {size} bytes; expected at most {MAX_META_DATA_BYTES}.")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: is not JSON ({error}); download meta_data.zip again.") from None


class ArchiveReader:
    """The wanted shapes of an archive, by number: first those that it has, in its order, then the others.

    A compressed archive is read from its start, so asking in rising order takes one pass, whatever lies between.

    Args:
        path (`Path`): Of the .tar.gz file.
        keys (sequence of `str`): Of the wanted shapes; one that occurs twice is found once.
        place (`str`): Dataset and group, or the dataset alone, of files whose names in the archive lack them.
    """

    def __init__(self, path: Path, keys: Sequence[str], place: str = "") -> None:
        self.path = path
        self.keys = keys
        self.passes = 0
        self._place = place.split("/")
        self._start()

    def shape(self, number: int) -> FoundShape:
        """The shape of a number from 0 to below `len(keys)`."""
        if number < self._next:
            self._start()
        while True:
            found = next(self._walk)
            self._next += 1
            if self._next > number:
                return found if isinstance(found, FoundShape) else self._read(*found)

    def _start(self) -> None:
        self._next = 0
        self._walk = self._shapes()
        self.passes += 1

    def _shapes(self) -> Iterator[tuple[str, TarStream] | FoundShape]:
        """Each wanted shape once: those in the archive as their stream, which stands at their content."""
        wanted = set(self.keys)
        why = f"{self.path}: has no file of this shape."
        try:
            with closing(TarStream(self.path)) as stream:
                while wanted and (name := stream.next()) is not None:
                    key = self._key(name)
                    if key in wanted and name.endswith(".npy"):
                        wanted.remove(key)
                        yield key, stream
        except BrokenArchive as error:
            why = f"{self.path}: {error}; it has no file of this shape before that."
        yield from (FoundShape(key, problem=why) for key in dict.fromkeys(self.keys) if key in wanted)
        for key, count in Counter(self.keys).items():
            yield from [FoundShape(key, problem="is listed more than once in the split.")] * (count - 1)

    def _key(self, name: str) -> str:
        parts = [part for part in name.removesuffix(".npy").split("/") if part not in ("", ".")][-3:]
        return "/".join([*self._place[: 3 - len(parts)], *parts])

    def _read(self, key: str, stream: TarStream) -> FoundShape:
        if stream.size > MAX_FILE_BYTES:
            name = f"{self.path}:{key}.npy"
            return FoundShape(key, problem=f"{name}: has {stream.size} bytes; expected at most {MAX_FILE_BYTES}.")
        try:
            return FoundShape(key, stream.read())
        except BrokenArchive as error:
            return FoundShape(key, problem=f"{self.path}:{key}.npy: {error}.")


class FolderReader:
    """The wanted shapes of an unpacked archive, by number, in the order of their list.

    Args:
        folder (`Path`): With the files of one group.
        keys (sequence of `str`): Of the wanted shapes; one that occurs twice is found once.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.folder = folder
        self.keys = keys
        self._first = {key: number for number, key in reversed([*enumerate(keys)])}

    def shape(self, number: int) -> FoundShape:
        """The shape of a number from 0 to below `len(keys)`."""
        key = self.keys[number]
        if self._first[key] != number:
            return FoundShape(key, problem="is listed more than once in the split.")
        dataset, group, name = key.split("/")
        if not self.folder.is_dir():
            place = f"{dataset}/{group}"
            return FoundShape(
                key,
                problem=f"the download has neither {place}.tar.gz nor {dataset}.tar.gz nor a folder {place}.",
            )
        file = self.folder / f"{name}.npy"
        try:
            return FoundShape(key, read_file(file, MAX_FILE_BYTES))
        except UserError as error:
            return FoundShape(key, problem=str(error))


def shapes_by_source(root: Path, shapes: Sequence[ListedShape]) -> dict[str, list[ListedShape]]:
    """The shapes of each archive or unpacked folder of a download, by its path below `root`.

    An archive comes before a folder, of which nobody knows whether it is whole. Shapes that have neither are under
    `<dataset>/<group>`.

    Raises:
        UserError: None of the archives is there.
    """
    sources: dict[str, str] = {}
    located: dict[str, list[ListedShape]] = {}
    for shape in shapes:
        place = shape.key.rpartition("/")[0]
        if place not in sources:
            sources[place] = _source(root, place, shape.path)
        located.setdefault(sources[place], []).append(shape)
    if not any((root / source).exists() for source in located):
        first = next(iter(sources))
        raise UserError(
            f"{root}: has none of the split's archives, neither packed nor unpacked (as {first}.tar.gz); expected the "
            "folder of the download of OpenShape/openshape-training-data."
        )
    return dict(sorted(located.items()))


def _source(root: Path, place: str, path: str) -> str:
    dataset, _, _ = place.partition("/")
    for archive in (f"{place}.tar.gz", f"{dataset}.tar.gz"):
        if (root / archive).is_file():
            return archive
    # Unpacked, archives may keep more of the authors' folders.
    parents = path.lstrip("/").split("/")[:-1]
    below = ("/".join(parents[start:]) for start in range(len(parents) - 1) if ".." not in parents)
    return next((folder for folder in below if (root / folder).is_dir()), place)


def _lists_split(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return folder in ("split", "split/ablation") and file.endswith(".json") and file != "lvis.json"


def _is_npy(path: str) -> bool:
    """Whether a path is that of a .npy file, of characters that a file's name can have; JSON can hold others."""
    return path.endswith(".npy") and path.isprintable()
