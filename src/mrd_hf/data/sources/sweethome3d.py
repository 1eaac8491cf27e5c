"""Furniture libraries of Sweet Home 3D (.sh3f) as sources of triplets.

A library is a zip file with a catalogue (Java properties: `name#1=Chair`, `model#1=/chairs/chair.obj` ...), a model
in Wavefront OBJ and an icon for each piece of furniture, and a licence. Everything is read from the zip file itself:
names in it are only ever looked up in it, never on the disk.

The libraries this was written for are those of the Debian package `sweethome3d-furniture`.
"""

import io
import posixpath
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Unpack

import numpy as np
from datasets import Features, Value
from PIL import Image

from ...errors import UserError
from ...files.digests import change_stamp
from ...models.mesh_loading import AssetResolver, read_mesh
from ...models.shape_files import colored_points
from ...models.shape_limits import check_pixels, check_size
from ...models.shapes import UNCOLORED, MeshError, TexturedMesh
from ...models.surface_sampling import normalize_points
from ...models.textures import open_picture
from ...models.zip_members import read_member
from ..preparation.dataset_writing import PreparedShape, Run, prepare_dataset
from ..schema import triplet_features


CATALOG_NAME = "PluginFurnitureCatalog.properties"
# Tags that say where an entry comes from, not what it is.
SOURCE_TAGS = {"blend swap"}
# In the order in which SPDX has them.
LICENSE_TERMS = {"noncommercial": "NC", "noderiv": "ND", "sharealike": "SA"}
# Of licence files that ask for something.
RESERVED = re.compile(r"General Public|\bL?GPL\b|Creative Commons|All rights reserved|Non-?commercial", re.IGNORECASE)


@dataclass(frozen=True)
class CatalogEntry:
    """One piece of furniture as the catalogue describes it.

    Args:
        name, category, creator (`str`): As in the catalogue.
        tags (`tuple[str, ...]`): As in the catalogue; may be empty.
        icon, model (`str`): Paths inside the library, as in the catalogue.
        rotation (`tuple[float, ...]`, *optional*): Row-major 3x3 matrix to be applied to the model.
    """

    name: str
    tags: tuple[str, ...]
    category: str
    creator: str
    icon: str
    model: str
    rotation: tuple[float, ...] | None

    @property
    def caption(self) -> str:
        """Name and tags in lower case: a short text about the object, as a shop would list it."""
        return ", ".join([self.name, *(tag for tag in self.tags if tag.lower() not in SOURCE_TAGS)]).lower()


class FurnitureLibrary:
    """An opened .sh3f file.

    Args:
        path (`str` or `Path`): The file.

    Raises:
        UserError: There is no such file, it is no zip file, or it has no usable catalogue.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{path}: no such file; expected a Sweet Home 3D furniture library (.sh3f).")
        try:
            self._zip = zipfile.ZipFile(self.path)
        except zipfile.BadZipFile as error:
            raise UserError(f"{path}: not a zip file, so not a Sweet Home 3D furniture library ({error}).") from error
        self._names = {name.lower(): name for name in self._zip.namelist()}
        catalog = self.read(CATALOG_NAME)
        if catalog is None:
            raise UserError(f"{path}: has no {CATALOG_NAME}, so it is not a Sweet Home 3D furniture library.")
        self._properties = parse_properties(catalog.decode("latin-1"))
        self.entries = [self._entry(number) for number in self._entry_numbers()]
        if not self.entries:
            raise UserError(f"{path}: its {CATALOG_NAME} lists no furniture (no key like 'name#1').")

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @cached_property
    def license(self) -> str:
        """SPDX identifier of the library's licence; "NOASSERTION" where its texts name none known."""
        text = (self.read("LICENSE.TXT") or b"").decode("latin-1")
        return find_license(text) or find_license(self._properties.get("license", "")) or "NOASSERTION"

    @cached_property
    def copyright_holder(self) -> str:
        """Whom the catalogue's licence line names after the copyright sign; empty where it names no one."""
        _, _, holder = self._properties.get("license", "").partition("\u00a9")
        return re.sub(r"^[\s\d,-]+", "", holder).strip()

    def read(self, name: str) -> bytes | None:
        """Content of a file of the library, or None where there is none. Letter case and a leading / do not matter.

        Raises:
            UserError: The file is there but damaged, or too large.
        """
        found = self._names.get(name.lstrip("/").lower())
        if found is None:
            return None
        info = self._zip.getinfo(found)
        try:
            check_size(info.compress_size, info.file_size)
        except ValueError as error:
            raise UserError(f"{self.path.name}:{name}: {error}.") from error
        try:
            return read_member(self._zip, info)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"{self.path.name}:{name}: damaged or not readable ({error}).") from error

    def license_of(self, entry: CatalogEntry) -> str:
        """SPDX identifier of an entry's licence.

        Models of a mixed library carry the licence file of their origin. Where that one asks for attribution and the
        library says public domain (two models of Blend Swap CC-0 do), the stricter of the two holds. One that asks for
        something and names no licence that is known here is `NOASSERTION`.
        """
        text = self._license_file(entry)
        own = find_license(text)
        if own is None and RESERVED.search(text):
            return "NOASSERTION"
        return own if own is not None and own != "CC0-1.0" else self.license

    def creator_of(self, entry: CatalogEntry) -> str:
        """Whom to credit for an entry: its creator, and the library's copyright holder if another."""
        return ", ".join(dict.fromkeys(filter(None, (entry.creator, self.copyright_holder))))

    def origin_of(self, entry: CatalogEntry) -> str | None:
        """Web page that an entry's own licence file says it was downloaded from, if any."""
        found = re.search(r"https?://(?:www\.)?blendswap\.com/blends?/(?:view/)?\d+", self._license_file(entry))
        return found[0] if found else None

    def load_icon(self, entry: CatalogEntry) -> bytes:
        """An entry's icon, as the image file it is.

        Raises:
            UserError: The icon is missing, cannot be decoded, or is of more pixels or of another format than a texture
                may be.
        """
        name = f"{self.path.name}:{entry.icon}"
        data = self.read(entry.icon)
        if data is None:
            raise UserError(f"{name}: no such file in the library.")
        try:
            with open_picture(io.BytesIO(data)) as image:
                check_pixels(*image.size, len(data))
                image.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{name}: not an image that can be read ({error}).") from error
        return data

    def load_mesh(self, entry: CatalogEntry) -> TexturedMesh:
        """Read an entry's model, turned as the catalogue says.

        Raises:
            MeshError: The model is missing, cannot be read or has no surface.
        """
        name = f"{self.path.name}:{entry.model}"
        data = self.read(entry.model)
        if data is None:
            raise MeshError(f"{name}: no such file in the library.")
        resolver = AssetResolver(posixpath.dirname(entry.model.lstrip("/")), self._read_asset)
        mesh = read_mesh(io.BytesIO(data), posixpath.splitext(entry.model)[1][1:], resolver, name).y_up()
        return mesh if entry.rotation is None else mesh.rotated(np.array(entry.rotation).reshape(3, 3))

    def _read_asset(self, name: str) -> bytes | None:
        """As [`FurnitureLibrary.read`], with the errors that an [`AssetResolver`] knows."""
        try:
            return self.read(name)
        except UserError as error:
            raise OSError(str(error)) from error

    def ids(self) -> list[str]:
        """A unique id for each entry, in the catalogue's order: the library's stem and as much path as it takes."""
        folders = [posixpath.basename(posixpath.dirname(entry.model)) for entry in self.entries]
        paths = [posixpath.splitext(entry.model.lstrip("/"))[0] for entry in self.entries]
        folder_counts, path_counts = Counter(folders), Counter(paths)
        ids = []
        for number, (folder, path) in enumerate(zip(folders, paths, strict=True), start=1):
            if folder and folder_counts[folder] == 1:
                ids.append(f"{self.stem}/{folder}")
            elif path_counts[path] == 1:
                ids.append(f"{self.stem}/{path}")
            else:
                ids.append(f"{self.stem}/{path}-{number}")
        return ids

    def _entry_numbers(self) -> list[int]:
        matches = (re.fullmatch(r"name#(\d+)", key) for key in self._properties)
        return sorted(int(match[1]) for match in matches if match)

    def _entry(self, number: int) -> CatalogEntry:
        def value(key: str) -> str:
            return self._properties.get(f"{key}#{number}", "").strip()

        for key in ("icon", "model"):
            if not value(key):
                raise UserError(f"{self.path}: its {CATALOG_NAME} has 'name#{number}' but no '{key}#{number}'.")
        rotation = None
        if value("modelRotation"):
            try:
                rotation = tuple(float(part) for part in value("modelRotation").split())
            except ValueError:
                rotation = ()
            if len(rotation) != 9:
                raise UserError(
                    f"{self.path}: 'modelRotation#{number}' of its {CATALOG_NAME} is '{value('modelRotation')}'; "
                    "expected 9 numbers."
                )
        return CatalogEntry(
            name=value("name"),
            tags=tuple(tag.strip() for tag in value("tags").split(",") if tag.strip()),
            category=value("category"),
            creator=value("creator"),
            icon=value("icon"),
            model=value("model"),
            rotation=rotation,
        )

    def _license_file(self, entry: CatalogEntry) -> str:
        """Text of the licence file in the model's folder; empty where there is none."""
        folder = posixpath.dirname(entry.model.lstrip("/")).lower()
        for lower, name in self._names.items():
            if folder and posixpath.dirname(lower) == folder and "license" in posixpath.basename(lower):
                return (self.read(name) or b"").decode("latin-1")
        return ""


def parse_properties(text: str) -> dict[str, str]:
    r"""Keys and values of a Java properties file: comments, continued lines and escapes (`\u20ac`) included."""
    properties = {}
    # Lines end as Java's do, and at none of the other characters at which Python splits.
    lines = iter([line.lstrip(" \t\f") for line in re.split(r"\r\n|\r|\n", text)])
    for line in lines:
        if not line or line[0] in "#!":
            continue
        # A line ending in an odd number of backslashes continues in the next, whose indentation does not count.
        parts = [line]
        while (len(parts[-1]) - len(parts[-1].rstrip("\\"))) % 2:
            parts[-1] = parts[-1][:-1]
            parts.append(next(lines, ""))
        pattern = r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)"
        match = re.match(pattern, "".join(parts), flags=re.DOTALL)
        if match:
            properties[_unescape(match[1])] = _unescape(match[2])
    return properties


def _unescape(text: str) -> str:
    controls = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
    return re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|(.))",
        lambda match: chr(int(match[1], 16)) if match[1] else controls.get(match[2], match[2]),
        text,
    )


def find_license(text: str) -> str | None:
    """SPDX identifier of the Creative Commons licence that a text names, by its address or its full name."""
    found = re.search(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)(?:/([a-z]{2}))?(?![a-z])", text)
    if found:
        return "-".join(part.upper() for part in ("CC", *found.groups()) if part)
    if re.search(r"creativecommons\.org/(publicdomain/zero|choose/zero)|Creative Commons Zero|CC-Zero", text):
        return "CC0-1.0"
    terms = r"(?:[ -]+(?:Non[ -]?Commercial|No[ -]?Deriv[a-z]*(?: Works)?|Share[ -]?Alike))*"
    found = re.search(rf"Creative Commons Attribution({terms}) (\d\.\d)( United States)?", text, flags=re.IGNORECASE)
    if found:
        named = re.sub(r"[^a-z]", "", found[1].lower())
        parts = [short for word, short in LICENSE_TERMS.items() if word in named]
        return "-".join(["CC-BY", *parts, found[2]]) + ("-US" if found[3] else "")
    return None


def sweethome3d_features() -> Features:
    """The triplet schema, and from the catalogue `model`, the model's path inside its library, and `catalog_category`.

    The latter says where a thing is used (Kitchen, Bedroom), not what it is, so `category` stays null.
    """
    return Features({**triplet_features(), "model": Value("string"), "catalog_category": Value("string")})


def prepare_sweethome3d(
    files: Sequence[str | Path],
    out: str | Path,
    num_points: int = 10_000,
    seed: int = 0,
    **run: Unpack[Run],
) -> dict:
    """Make a triplet dataset from furniture libraries.

    The result does not depend on `num_workers`: an object's randomness comes from `seed` and its id alone.

    Args:
        files (sequence of `str` or `Path`): The .sh3f files.
        out (`str` or `Path`): Folder of the dataset.
        num_points (`int`, defaults to 10000): Points sampled from each surface.
        seed (`int`, defaults to 0): Seed of the sampling.
        run ([`Run`]): `num_workers`, `overwrite`, `num_shards` and `shard_index`, see [`prepare_dataset`].

    Returns:
        `dict`: The report that is also written to `report.json`, see [`prepare_dataset`].

    Raises:
        UserError: A file is not a furniture library, two have the same name, or `out` has a dataset already.
    """
    libraries = [FurnitureLibrary(file) for file in files]
    return prepare_dataset(
        entry_jobs(libraries),
        partial(prepare_entry, num_points=num_points, seed=seed),
        sweethome3d_features(),
        out,
        settings={
            "source": "sweethome3d",
            "libraries": {library.path.name: library.license for library in libraries},
            "num_points": num_points,
            "seed": seed,
        },
        **run,
        input_file=lambda job: Path(job[0]),
    )


def entry_jobs(libraries: Sequence[FurnitureLibrary]) -> list[tuple[str, int, str]]:
    """A job for [`prepare_entry`] for each object of the libraries.

    Raises:
        UserError: Two libraries have the same file name.
    """
    for stem, count in Counter(library.stem for library in libraries).items():
        if count > 1:
            raise UserError(f"{stem}: {count} of the libraries have this name, so ids would clash; rename them.")
    return [
        (str(library.path), index, shape_id) for library in libraries for index, shape_id in enumerate(library.ids())
    ]


def prepare_entry(job: tuple[str, int, str], num_points: int, seed: int) -> PreparedShape:
    """Make one row of the dataset: the entry of index `job[1]` in the library `job[0]`, under the id `job[2]`."""
    path, index, shape_id = job
    library = _open_library(path, change_stamp(path))
    entry = library.entries[index]
    try:
        icon = library.load_icon(entry)
        mesh = library.load_mesh(entry)
        its_license = library.license_of(entry)
    except (UserError, MeshError) as error:
        return PreparedShape(shape_id, skipped=str(error))
    generator = np.random.default_rng([seed, zlib.crc32(shape_id.encode())])
    points, colors = colored_points(mesh, num_points, generator)
    if colors is None:
        colors = np.full(points.shape, round(255 * UNCOLORED), dtype=np.uint8)
    row = {
        "id": shape_id,
        "source": "sweethome3d",
        "name": entry.name,
        "category": None,
        "license": its_license,
        "creator": library.creator_of(entry),
        "points": normalize_points(points).astype(np.float16),
        "colors": colors,
        "images": [{"bytes": icon, "path": None}],
        "texts": [{"text": entry.name, "source": "name"}, {"text": entry.caption, "source": "caption"}],
        "model": entry.model,
        "catalog_category": entry.category or None,
    }
    return PreparedShape(shape_id, row, warnings=mesh.warnings)


@lru_cache(maxsize=8)
def _open_library(path: str, stamp: tuple[int, int] | None) -> FurnitureLibrary:
    """A worker meets the same few libraries again and again; one that was replaced has another stamp."""
    return FurnitureLibrary(path)
