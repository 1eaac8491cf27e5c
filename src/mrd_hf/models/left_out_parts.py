"""Which parts of a mesh are read: not its collision meshes, which engines use and nobody sees, and not what is named.

Engines know a collision mesh by its name: Unreal by the prefixes UCX_, UBX_, USP_ and UCP_, Godot by the suffixes
-col, -colonly and -convcolonly, and exporters of others write "collider" or "collision" somewhere in it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from .shapes import TexturedMesh


# Unreal's prefixes are in capitals; in small letters only the first is nothing else: usp_slide is of a pistol.
COLLISION = re.compile(r"(?i:collider|collision|\Aucx_|-(?:col|colonly|convcolonly)\Z)|\A(?:UBX|USP|UCP)_")
LISTED = 5
MAX_NAME = 60


@dataclass(frozen=True)
class PartChoice:
    """Which parts of a mesh are read.

    Args:
        keep_collision (`bool`, defaults to `False`): Whether collision meshes are.
        skip_parts (`str`, *optional*):
            A regular expression. Parts in whose name, or in the name of whose object, group, mesh or node above,
            something matches it are not.

    Raises:
        ValueError: `skip_parts` is no regular expression.
    """

    keep_collision: bool = False
    skip_parts: str | None = None

    def __post_init__(self) -> None:
        if self.skip_parts is not None:
            try:
                re.compile(self.skip_parts)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"skip_parts {self.skip_parts!r} is no regular expression: {error}.") from None

    def leaves_out(self, groups: Sequence[str]) -> bool:
        """Whether a part with these groups (see `MeshPart`) may be left out."""
        return any(self._is_collision(name) or self._is_skipped(name) for name in groups)

    def chosen(self, mesh: TexturedMesh) -> TexturedMesh:
        """The mesh without the parts that are left out, and a warning that says which. Left alone if that is none.

        Raises:
            ValueError: `skip_parts` matches all parts.
        """
        # Once a name: those of nodes and groups are many parts' own.
        is_collision, is_skipped = cache(self._is_collision), cache(self._is_skipped)
        skipped = [next(filter(is_skipped, (part.name, *part.groups)), None) for part in mesh.parts]
        collision = [next(filter(is_collision, part.groups), None) for part in mesh.parts]
        if not any(name is not None for name in (*skipped, *collision)):
            return mesh
        warnings = list(mesh.warnings)
        names = [name for name in skipped if name is not None]
        if len(names) == len(mesh.parts):
            raise ValueError(f"skip_parts {self.skip_parts!r} matches all its parts ({_listed(names)})")
        if names:
            warnings.append(f"{len(names)} of {len(mesh.parts)} parts left out, as skip_parts says: {_listed(names)}")
        rest = [(part, name) for part, name, out in zip(mesh.parts, collision, skipped, strict=True) if out is None]
        names = [name for _, name in rest if name is not None]
        if not any(len(part.triangles) for part, name in rest if name is None):
            warnings.append(f"nothing but collision meshes, so they are read: {_listed(names)}")
            return replace(mesh, parts=[part for part, _ in rest], warnings=warnings)
        if names:
            few = "1 collision mesh" if len(names) == 1 else f"{len(names)} collision meshes"
            warnings.append(f"{few} of {len(mesh.parts)} parts left out: {_listed(names)}")
        return replace(mesh, parts=[part for part, name in rest if name is None], warnings=warnings)

    def _is_collision(self, name: str) -> bool:
        return not self.keep_collision and COLLISION.search(name.strip()) is not None

    def _is_skipped(self, name: str) -> bool:
        return self.skip_parts is not None and re.search(self.skip_parts, name) is not None


# What is seen: all but collision meshes.
SEEN = PartChoice()


def _listed(names: Sequence[str]) -> str:
    different = list(dict.fromkeys(names))
    shown = ", ".join(name[:MAX_NAME] or "''" for name in different[:LISTED])
    return f"{shown} and {len(different) - LISTED} more" if len(different) > LISTED else shown
