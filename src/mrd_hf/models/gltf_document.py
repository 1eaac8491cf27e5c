"""The container side of glTF 2.0: the JSON, the buffers beside or inside the file, and arrays out of them.

Source: the glTF 2.0 specification, sections 3.6 (binary data), 4.4 (GLB) and 5 (properties). Nothing here knows of
meshes or materials.
"""

import base64
import binascii
import json
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np

from .gltf_compression import MissingPackageError, decode_draco, decode_meshopt
from .shape_limits import ALLOWANCES, MAX_CHUNKS, ShapeBudget


# The last three are OpenGL's numbers for int, double and half: not glTF 2.0's, but of drafts, and of some exporters.
COMPONENT_TYPES = {
    5120: "<i1",
    5121: "<u1",
    5122: "<i2",
    5123: "<u2",
    5125: "<u4",
    5126: "<f4",
    5124: "<i4",
    5130: "<f8",
    5131: "<f2",
}
NUM_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
GLB_HEADER_SIZE, CHUNK_HEADER_SIZE = 12, 8
# What is often found in the place of a file, by its first bytes.
MISTAKEN = (
    (b"version https://git-lfs", "it is a pointer of Git LFS; fetch the file itself with git lfs pull"),
    (b"<", "it is a page or XML, perhaps of a download that failed"),
    (b"\x1f\x8b", "it is packed by gzip; unpack it"),
    (b"pk\x03\x04", "it is a ZIP archive; unpack it"),
)
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class GltfDocument:
    """A glTF file that has been opened: its JSON, and whatever binary data it names, read when it is asked for.

    Args:
        data (`bytes`): The file.
        get (`Callable[[str], bytes]`): Content of a file that it names. Raises `FileNotFoundError`.

    Raises:
        ValueError: It is no glTF 2.0 file.
    """

    def __init__(self, data: bytes, get: Callable[[str], bytes]) -> None:
        self.budget = ShapeBudget(len(data))
        self.get = self.budget.counted(get)
        self.binary: memoryview | None = None
        text = self._split(data) if data.startswith(b"glTF") else data
        self.json: dict[str, Any] = _parse(bytes(text), self.budget)
        self._items: dict[str, list[dict[str, Any]]] = {}
        self._buffers: dict[int, memoryview] = {}
        self._unpacked: dict[int, memoryview] = {}
        self._decoded: dict[tuple[int, str], tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        self._sparse: dict[int, np.ndarray] = {}

    def _split(self, data: bytes) -> bytes:
        """The JSON chunk of a GLB, whose binary chunk is kept."""
        if len(data) < GLB_HEADER_SIZE:
            raise ValueError("the GLB ends within its header")
        version = struct.unpack_from("<I", data, 4)[0]
        if version != 2:
            raise ValueError(f"glTF version {version}; only 2.0 is read, convert it (Blender does)")
        text, place = None, GLB_HEADER_SIZE
        for _ in range(MAX_CHUNKS):
            if place + CHUNK_HEADER_SIZE > len(data) or (text is not None and self.binary is not None):
                break
            length, kind = struct.unpack_from("<I4s", data, place)
            place += CHUNK_HEADER_SIZE
            if kind == b"JSON" and text is None:
                if place + length > len(data):
                    raise ValueError(f"the GLB ends after {len(data):,} bytes, within a chunk of {length:,}")
                text = data[place : place + length]
            elif kind == b"BIN\0":
                # Of one that is cut off, the parts that are missing are named where they are needed.
                self.binary = memoryview(data)[place : place + length]
            place += length
            if length % 4 and data[place + 4 : place + 8] != b"BIN\0":
                place += -length % 4  # padding that the writer did not count
        if text is None:
            raise ValueError("the GLB has no JSON chunk")
        return text

    def items(self, name: str) -> list[dict[str, Any]]:
        """A top-level list, such as `meshes`; empty where there is none."""
        if name not in self._items:
            found = self.json.get(name) or []
            if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
                raise ValueError(f"'{name}' is no list of objects")
            self._items[name] = found
        return self._items[name]

    def item(self, name: str, index: Any) -> dict[str, Any]:
        """An entry of a top-level list."""
        found = self.items(name)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(found):
            raise ValueError(f"{name} {index!r} does not exist (there are {len(found)})")
        return found[index]

    def content(self, uri: str) -> bytes:
        """What a data URI holds, or the file that a URI names, percent-encoded or not."""
        if uri[:5].lower() == "data:":
            return _of_data_uri(uri)
        # As the specification has it; as it stands, since not all exporters encode it; and without a query.
        bare = uri.partition("#")[0].partition("?")[0]
        failure = None
        for name in dict.fromkeys((unquote(uri), uri, unquote(bare))):
            try:
                return self.get(name)
            except FileNotFoundError as error:
                failure = failure or error
        raise failure or FileNotFoundError(f"file not found: {uri}")

    def buffer_view(self, index: Any) -> memoryview:
        """The bytes of a buffer view, decompressed if need be."""
        if isinstance(index, int) and index in self._unpacked:
            return self._unpacked[index]
        view = self.item("bufferViews", index)
        for name in MESHOPT:
            packed = view.get("extensions", {}).get(name)
            if packed is not None:
                try:
                    data = decode_meshopt(self._slice(packed, f"bufferViews {index}"), packed, name, self.budget)
                except MissingPackageError:
                    if name in (self.json.get("extensionsRequired") or []):
                        raise
                    break  # files for readers without it hold the same once more, as it is
                self._unpacked[index] = memoryview(data)
                return self._unpacked[index]
        return self._slice(view, f"bufferViews {index}")

    def draco(self, index: Any, attributes: dict[str, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What [`decode_draco`] makes of a buffer view; once, however many primitives share it."""
        data = self.buffer_view(index)
        key = (index, repr(sorted(attributes.items())))
        if key not in self._decoded:
            self._decoded[key] = decode_draco(data, attributes, self.budget)
        return self._decoded[key]

    def _slice(self, view: dict[str, Any], name: str) -> memoryview:
        buffer = self._buffer(view.get("buffer"))
        start, length = view.get("byteOffset", 0), view.get("byteLength", 0)
        if not (isinstance(start, int) and isinstance(length, int) and start >= 0 and length >= 0):
            raise ValueError(f"{name}: byteOffset {start!r} and byteLength {length!r}; expected whole numbers from 0")
        if start + length > len(buffer):
            raise ValueError(f"{name}: ends at byte {start + length:,} of a buffer of {len(buffer):,}")
        return buffer[start : start + length]

    def _buffer(self, index: Any) -> memoryview:
        buffer = self.item("buffers", index)
        if index not in self._buffers:
            uri = buffer.get("uri")
            if uri is not None:
                self._buffers[index] = memoryview(self.content(uri))
            elif self.binary is not None and index == 0:
                self._buffers[index] = self.binary
            else:
                raise ValueError(f"buffers {index}: has neither a uri nor a binary chunk")
        return self._buffers[index]

    def accessor(self, index: Any) -> np.ndarray:
        """An accessor's elements, of shape `(count, components)`; normalised ones as float32.

        Raises:
            ValueError: It is damaged, or asks for data that is not there.
        """
        values = self.stored(index)
        return as_float(values) if self.item("accessors", index).get("normalized") else values

    def stored(self, index: Any) -> np.ndarray:
        """An accessor's elements as they are stored: indices, which some exporters call normalised."""
        if isinstance(index, int) and index in self._sparse:
            return self._sparse[index]
        accessor = self.item("accessors", index)
        name = f"accessors {index}"
        values = self._elements(accessor, accessor.get("bufferView"), accessor.get("byteOffset", 0), name)
        sparse = accessor.get("sparse")
        if sparse is not None:
            self.budget.unpack(values.nbytes)
            values = values.copy()
            self._replace(values, accessor, sparse, name)
            self._sparse[index] = values
        return values

    def _elements(self, accessor: dict[str, Any], view_index: Any, offset: int, name: str) -> np.ndarray:
        count = accessor.get("count", 0)
        if accessor.get("componentType") not in COMPONENT_TYPES or accessor.get("type") not in NUM_COMPONENTS:
            raise ValueError(f"{name}: componentType {accessor.get('componentType')!r}, type {accessor.get('type')!r}")
        if not (isinstance(count, int) and count >= 0):
            raise ValueError(f"{name}: count {count!r}")
        dtype = np.dtype(COMPONENT_TYPES[accessor["componentType"]])
        components = NUM_COMPONENTS[accessor["type"]]
        if view_index is None:
            if count > ALLOWANCES["points"].harmless:
                raise ValueError(f"{name}: {count:,} elements of which the file has no data")
            return np.zeros((count, components), dtype=dtype)
        data = self.buffer_view(view_index)
        stride = self.item("bufferViews", view_index).get("byteStride") or 0
        # Columns of matrices start at multiples of four bytes.
        rows = {"MAT2": 2, "MAT3": 3}.get(accessor["type"], 1)
        column = dtype.itemsize * components // rows
        padded = column + (-column % 4 if rows > 1 else 0)
        size = padded * rows
        stride = stride or size
        needed = offset + (count - 1) * stride + size - (padded - column if rows > 1 else 0) if count else 0
        if not (isinstance(offset, int) and offset >= 0 and isinstance(stride, int) and stride >= 0):
            raise ValueError(f"{name}: byteOffset {offset!r}, byteStride {stride!r}")
        if needed > len(data):
            raise ValueError(f"{name}: ends at byte {needed:,} of a buffer view of {len(data):,}")
        if not count:
            return np.zeros((0, components), dtype=dtype)
        if rows == 1:
            shape, strides = (count, components), (stride, dtype.itemsize)
            return np.ndarray(shape, dtype, data, offset, strides)
        matrices = np.ndarray((count, rows, components // rows), dtype, data, offset, (stride, padded, dtype.itemsize))
        return matrices.reshape(count, components)

    def _replace(self, values: np.ndarray, accessor: dict[str, Any], sparse: dict[str, Any], name: str) -> None:
        indices, replacing = sparse.get("indices", {}), sparse.get("values", {})
        count = sparse.get("count", 0)
        places = self._elements(
            {"count": count, "type": "SCALAR", "componentType": indices.get("componentType")},
            indices.get("bufferView"),
            indices.get("byteOffset", 0),
            f"{name}, sparse indices",
        )[:, 0]
        new = self._elements(
            {**accessor, "count": count},
            replacing.get("bufferView"),
            replacing.get("byteOffset", 0),
            f"{name}, sparse values",
        )
        if len(places) and not 0 <= places.min() <= places.max() < len(values):
            raise ValueError(f"{name}: a sparse index is beyond its {len(values)} elements")
        values[places.astype(np.int64)] = new


def _of_data_uri(uri: str) -> bytes:
    header, _, payload = uri.partition(",")
    if not header.lower().endswith(";base64"):
        return unquote_to_bytes(payload)
    # As browsers do: spaces, percent signs and the letters for URLs are understood, and the padding may be missing.
    text = unquote(payload) if "%" in payload else payload
    text = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"a data URI, {uri[:30]}..., is no base64 ({error})") from None


def _parse(text: bytes, budget: ShapeBudget) -> dict[str, Any]:
    if text.startswith(UTF_16_MARKS) or b"\0" in text[:2]:
        raise ValueError("its JSON is in UTF-16 or UTF-32; the format has UTF-8, save it so")
    # Each is an object of Python's, of sixty bytes or more.
    budget.take("JSON values", sum(text.count(mark) for mark in (b",", b"[", b"{")))
    try:
        # A name that is not in UTF-8 matters to no one.
        decoded = text.decode("utf-8-sig", errors="replace").rstrip("\0 \t\r\n")
        parsed = json.loads(decoded, object_pairs_hook=_without_nulls, parse_float=_number)
    except (json.JSONDecodeError, RecursionError) as error:
        hint = next((hint for start, hint in MISTAKEN if text.lstrip()[: len(start)].lower() == start), str(error))
        raise ValueError(f"its JSON cannot be read: {hint}") from None
    if not isinstance(parsed, dict):
        raise ValueError("its JSON is no object")
    asset = parsed.get("asset") or {}
    version, needed = str(asset.get("version", "2.0")), str(asset.get("minVersion", "2.0"))
    if version.partition(".")[0] != "2" or needed not in ("2", "2.0"):
        wrong = f"{version}, which needs a reader of {needed}" if "minVersion" in asset else version
        raise ValueError(f"glTF version {wrong}; only 2.0 is read, convert it (Blender does)")
    if isinstance(parsed.get("meshes"), dict):
        raise ValueError("glTF version 1.0, as its meshes have names; only 2.0 is read, convert it (Blender does)")
    return parsed


def _number(text: str) -> int | float:
    """What is written with a point or an exponent; a whole number may be, and is an index then as well."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _without_nulls(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; what some exporters write as null is left out, as the specification has it."""
    return {name: value for name, value in pairs if value is not None}


def as_float(values: np.ndarray) -> np.ndarray:
    """Normalised integers as numbers in 0..1 or -1..1; the lowest of signed ones is -1 as well."""
    if values.dtype.kind == "f":
        return values
    scaled = values.astype(np.float32) / np.iinfo(values.dtype).max
    return np.maximum(scaled, -1.0) if values.dtype.kind == "i" else scaled
