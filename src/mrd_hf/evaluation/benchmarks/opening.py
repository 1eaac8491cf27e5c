"""Open a benchmark by its name; which of its published layouts a folder has shows by the files in it."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from ...data.loading import load_all_splits
from ...errors import UserError
from ...models.left_out_parts import SEEN, PartChoice
from . import modelnet, objaverse_lvis, scanobjectnn, shape_folder, triplets
from .benchmark import Benchmark


# What each reads.
BENCHMARKS = {
    "modelnet40": modelnet.LAYOUTS,
    "modelnet10": modelnet.LAYOUTS,
    "scanobjectnn": scanobjectnn.LAYOUTS,
    "objaverse-lvis": objaverse_lvis.LAYOUTS,
    "shape-folder": "a folder of meshes or point clouds with a sub-folder a class",
    "triplets": "a triplet dataset with a column category, a folder or an id on the Hub",
}


def open_benchmark(
    name: str,
    path: str | Path,
    split: str = "test",
    variant: str | None = None,
    up_axis: Literal["y", "z"] | None = None,
    allow_partial: bool = False,
    choice: PartChoice = SEEN,
) -> Benchmark:
    """Open a benchmark. Its clouds are read later, when they are asked for.

    Args:
        name (`str`): Of [`BENCHMARKS`].
        path (`str` or `Path`): Its folder, or one above it as archives unpack to; see each reader for the layouts.
        split (`str`, defaults to `"test"`): `train` or `test`; some layouts have only the latter.
        variant (`str`, *optional*): Of scanobjectnn, where a folder has several: `obj_only`, `obj_bg`, `pb_t50_rs`
            or `openshape`.
        up_axis (`"y"` or `"z"`, *optional*): Which axis points up in the files. The published ones say it themselves,
            and it overrides what they say; of a shape-folder each file says it, else y is.
        allow_partial (`bool`, defaults to `False`): Whether a part of a published split will do. What is reported of
            it is not comparable with what others report.
        choice (`PartChoice`, *optional*): Of a shape-folder, which parts of meshes are read, as the feature extractor
            says. Default: all but collision meshes.

    Returns:
        [`Benchmark`].

    Raises:
        UserError: There is no such benchmark, none of its layouts is there, or what is there is damaged, or not what
            was published: other classes, another number of shapes.
    """
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark '{name}'; known are {', '.join(BENCHMARKS)}.")
    if variant is not None and name != "scanobjectnn":
        raise UserError(f"{name} has no variants, so no '{variant}'; only scanobjectnn has.")
    folder = Path(path).expanduser()
    if name != "triplets" and not (folder.is_dir() or (name == "scanobjectnn" and folder.is_file())):
        raise UserError(f"{path}: no such folder; expected {BENCHMARKS[name]}.")
    match name:
        case "scanobjectnn":
            benchmark = scanobjectnn.open_scanobjectnn(folder, split, variant, allow_partial)
        case "objaverse-lvis":
            benchmark = objaverse_lvis.open_objaverse_lvis(folder, split, allow_partial)
        case "shape-folder":
            benchmark = shape_folder.open_shape_folder(folder, split, up_axis, choice)
        case "triplets":
            benchmark = triplets.labeled_triplets(load_all_splits(path), str(path), split)
        case _:
            benchmark = modelnet.open_modelnet(name, folder, split, allow_partial)
    return benchmark if up_axis is None else replace(benchmark, up_axis=up_axis)
