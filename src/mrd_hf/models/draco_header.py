"""The counts that a Draco buffer begins with: its decoder takes memory for them, whether its data are there or not.

Source: the Draco bitstream specification, sections 4 (header), 5 (metadata) and 9 (edgebreaker); of meshes without the
latter, Draco's mesh_sequential_decoder.cc, which says what versions before 2.2 have.
"""

from .shape_limits import ShapeBudget


CLOUD, MESH = 0, 1
EDGEBREAKER = 1
METADATA = 0x8000
HEADER_BYTES = 11


class _Bytes:
    def __init__(self, data: bytes, place: int) -> None:
        self.data = data
        self.place = place

    def number(self, size: int) -> int:
        self.place += size
        return int.from_bytes(self.data[self.place - size : self.place], "little")

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128 or shift > 63:
                return value

    def skip_metadata(self, depth: int = 0) -> None:
        """Entries of names and values, and further metadata within."""
        for _ in range(self.varint()):
            self.skip(self.number(1))
            self.skip(self.varint())
        for _ in range(self.varint()):
            self.skip(self.number(1))
            if depth > 16:
                raise ValueError("its Draco metadata are nested too deep")
            self.skip_metadata(depth + 1)

    def skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self.data):
            raise ValueError("its Draco data end within their metadata")


def take_draco_counts(data: bytes, budget: ShapeBudget) -> None:
    """Count the faces or points of a buffer.

    Args:
        data (`bytes`): The buffer.
        budget (`ShapeBudget`): That of the file that it is in.

    Raises:
        ValueError: The buffer has more of them than one of its size may have, or the file with what it had before.
    """
    if len(data) < HEADER_BYTES or not data.startswith(b"DRACO"):
        return  # for its decoder to refuse
    version, kind, method = (data[5], data[6]), data[7], data[8]
    own, rest = ShapeBudget(len(data)), _Bytes(data, HEADER_BYTES)

    def take(what: str, count: int) -> None:
        own.take(what, count)
        budget.take(f"decoded {what}", count)

    if int.from_bytes(data[9:11], "little") & METADATA:
        for _ in range(rest.varint()):  # of attributes, each with its number
            rest.varint()
            rest.skip_metadata()
            rest.skip(0)
        rest.skip_metadata()
    if kind == CLOUD:
        take("points", rest.number(4))
        return
    is_edgebreaker = kind == MESH and method == EDGEBREAKER
    count = rest.varint if version >= ((2, 0) if is_edgebreaker else (2, 2)) else lambda: rest.number(4)
    if is_edgebreaker:
        rest.number(1)
        if version < (2, 2):
            count()
        num_vertices, num_faces = count(), count()
        take("faces", max(num_faces, num_vertices // 3))
    elif kind == MESH:
        take("faces", count())
        take("points", count())
