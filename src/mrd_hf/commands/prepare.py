"""Turn 3D collections into a dataset of shape-image-text triplets, ready for mrd-hf embed-teacher.

The result is a folder that `datasets.load_dataset` reads, with a `report.json` that lists what was skipped and why.
A run that was killed resumes when the same command is given again: files that are finished stay.
One command a source; `%(prog)s SOURCE --help` shows its options.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from PIL import ImageColor

from mrd_hf.data.sources.sweethome3d import prepare_sweethome3d
from mrd_hf_cli.part_choice import add_part_choice

from ..data.rendering import RenderSettings
from ..data.resplitting.resplitting import resplit_dataset
from ..data.resplitting.teacher_changes import TeacherChanges
from ..data.sources.meshes.mesh_folder import prepare_mesh_folder
from ..data.sources.openshape import prepare_openshape
from ..data.sources.report_summary import summary_of
from ..data.sources.ulip import NUM_POINTS, SPLITS, prepare_ulip
from ..models.shape_suffixes import MESH_SUFFIXES
from .arguments import CommandParser, from_zero, positive
from .termination import exit_on_sigterm


EXAMPLES = """\
example:
  mrd-hf prepare sweethome3d libraries/*.sh3f --output datasets/furniture
  mrd-hf prepare meshes my_models --output datasets/mine --num-views 4
  mrd-hf prepare openshape openshape-training-data --split train_no_lvis --output datasets/openshape
  mrd-hf prepare ulip shapenet-55 --output datasets/shapenet

the same by a Slurm array of 16 tasks, each of which makes its own files of the one dataset, with nothing to merge:
  sbatch --array=0-15 --wrap 'mrd-hf prepare sweethome3d libraries/*.sh3f \\
    --output datasets/furniture --num-shards 16 --shard-index $SLURM_ARRAY_TASK_ID'
"""
MESHES_EXAMPLES = """\
metadata, for example captions.csv; all columns but the first are optional:
  file_name,name,category,license,caption
  chairs/01.glb,armchair,chair,CC0-1.0,a green armchair with wooden legs
  chairs/02.glb,office chair,chair,CC0-1.0,"a black office chair, on wheels"
  x/mug.obj,mug,mug,CC-BY-4.0,

  file_name                      path from the metadata file's folder, or from FOLDER if it lies outside
  name                           what the shape is called, one of its texts; by default the words in the file's name
  category (or label)            the class that it belongs to, for zero-shot scores, probes and neighbours; without
                                 metadata the folder's name
  split                          train, validation or test, of every file; else --test-share decides, or all are train
  license, creator               an SPDX identifier, and whom to credit
  text, texts, caption, captions further texts: one, or in JSON a list, as "[""a chair"", ""a seat""]" in CSV

held-out shapes:
  --test-share 0.2 holds out a fifth of the names, with all their shapes, so that no name is in train and in test.
  Names are compared by their words: chair_01.glb and chair_02.glb are both called "chair", and stay together. Give
  them names of their own in the metadata to have chairs in both splits. Whether a name is held out depends on --seed
  and the name alone, so it stays where it is when you add shapes.

example:
  mrd-hf prepare meshes my_models --metadata captions.csv --test-share 0.2 --output datasets/mine
"""
RESPLIT_EXAMPLES = """\
example:
  mrd-hf prepare resplit scripts/demo_data --seed 1 --labels scripts/demo_data/categories.csv \\
      --class-texts scripts/demo_data/label_texts.parquet --output datasets/furniture-1
  mrd-hf evaluate --model outputs/demo/encoder --dataset datasets/furniture-1 --split validation \\
      --class-texts datasets/furniture-1/class_texts.parquet --output outputs/demo/validation
"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="mrd-hf prepare",
        description=__doc__,
        epilog=EXAMPLES,
    )
    # Each source adds its command: its own arguments, the common ones, and `prepare`, which main() calls.
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    _add_sweethome3d(sources)
    _add_meshes(sources)
    _add_openshape(sources)
    _add_ulip(sources)
    _add_resplit(sources)
    return parser.parse_args(argv)


def _add_sweethome3d(sources: Any) -> None:
    parser = sources.add_parser(
        "sweethome3d",
        help="furniture libraries of Sweet Home 3D (.sh3f)",
        description="Read furniture libraries of Sweet Home 3D: models, icons, names and tags.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="furniture libraries (.sh3f)")
    _add_common_arguments(parser)
    parser.set_defaults(prepare=lambda arguments: prepare_sweethome3d(arguments.files, **_common(arguments)))


def _add_meshes(sources: Any) -> None:
    parser = sources.add_parser(
        "meshes",
        help=f"a folder of {' '.join(MESH_SUFFIXES)} files",
        description="Read the meshes of a folder and draw pictures of them. Texts come from metadata.csv, .jsonl or\n"
        ".parquet, in any of its folders or given by --metadata, else from the names of the files. Files that no\n"
        "metadata names are left out. Parquet files with a column of meshes are read too.",
        epilog=MESHES_EXAMPLES,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the folder, or a .zip file of one")
    parser.add_argument(
        "--metadata",
        metavar="FILE",
        help="a metadata file instead of those in FOLDER; if it lies outside, its file names start from FOLDER",
    )
    parser.add_argument(
        "--up-axis",
        choices=("y", "z"),
        help="which axis points up in the meshes (default: what each file declares, otherwise y)",
    )
    parser.add_argument(
        "--test-share",
        type=_share,
        metavar="SHARE",
        help="hold out this share of the names in a split test (default: none, or what the metadata says)",
    )
    parser.add_argument(
        "--keep-mesh",
        action="store_true",
        help="also keep the file, of .glb, .ply and .stl, in a column 'mesh', which the Hub's viewer shows",
    )
    add_part_choice(parser)
    pictures = parser.add_argument_group("pictures", "drawn on the CPU; they need pip install 'mrd-hf[render]'")
    pictures.add_argument("--no-images", action="store_true", help="draw none")
    defaults = RenderSettings()
    pictures.add_argument(
        "--num-views",
        type=int,
        default=defaults.num_views,
        metavar="N",
        help="from cameras evenly around the shape, the first at its front, +z when y is up (default %(default)s)",
    )
    pictures.add_argument(
        "--resolution",
        type=int,
        default=defaults.resolution,
        metavar="N",
        help="pixels a side (default %(default)s)",
    )
    pictures.add_argument(
        "--elevation",
        type=float,
        nargs="+",
        default=defaults.elevations,
        metavar="DEGREES",
        help="height of the cameras; several take turns (default 20)",
    )
    pictures.add_argument(
        "--background", type=_color, default=defaults.background, metavar="COLOR", help="a name or #rrggbb (white)"
    )
    pictures.add_argument(
        "--ambient",
        type=float,
        default=defaults.ambient,
        metavar="SHARE",
        help="share of the light that comes from everywhere; 1 for no shading (default %(default)s)",
    )
    _add_common_arguments(parser)
    parser.set_defaults(prepare=_prepare_meshes)


def _add_openshape(sources: Any) -> None:
    parser = sources.add_parser(
        "openshape",
        help="OpenShape's training data, with its cached embeddings",
        description="Read the training data of OpenShape as published: point clouds, texts and their embeddings by "
        "CLIP ViT-bigG-14, so that mrd-hf embed-teacher is not needed. Nothing in the files is executed.",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="the download of OpenShape/openshape-training-data: meta_data.zip, Objaverse/000-000.tar.gz ..., "
        "ShapeNet.tar.gz, 3D-FUTURE.tar.gz, ABO.tar.gz; each packed, or unpacked",
    )
    parser.add_argument(
        "--split",
        default="train_all",
        metavar="NAME",
        help="a list of meta_data/split: train_all, train_no_lvis, train_shapenet_only ... (default %(default)s)",
    )
    _add_common_arguments(parser)
    parser.set_defaults(
        prepare=lambda arguments: prepare_openshape(arguments.folder, split=arguments.split, **_common(arguments))
    )


def _add_ulip(sources: Any) -> None:
    parser = sources.add_parser(
        "ulip",
        help="ULIP's triplets of ShapeNet-55, with 30 renders a shape",
        description="Read ULIP's triplets of ShapeNet-55 as published: point clouds, renders and names of classes.",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="the download shapenet-55: train.txt, test.txt, taxonomy.json, shapenet_pc, and rendered_images or "
        "only_rgb_depth_images",
    )
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="train",
        help="which list to read; give each an --output of its own (default %(default)s)",
    )
    _add_common_arguments(parser)
    parser.set_defaults(
        num_points=NUM_POINTS,
        prepare=lambda arguments: prepare_ulip(arguments.folder, split=arguments.split, **_common(arguments)),
    )


def _add_resplit(sources: Any) -> None:
    parser = sources.add_parser(
        "resplit",
        help="a triplet dataset split again by names, or with a worse teacher",
        description="Divide an embedded triplet dataset into train, validation and test by the names of its shapes,\n"
        "so that no name is in two splits. --seed and the set of names decide which go where: a name that is added\n"
        "may move others. For a dataset that grows, see --test-share and the column split of `mrd-hf prepare meshes`.",
        epilog=RESPLIT_EXAMPLES,
    )
    parser.add_argument("dataset", metavar="DATASET", help="triplet dataset with embeddings: a folder or a Hub id")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write the dataset to")
    parser.add_argument(
        "--seed", type=from_zero, default=0, metavar="N", help="of the division and the changes (default %(default)s)"
    )
    parser.add_argument(
        "--test-share", type=_share, default=0.3, metavar="SHARE", help="of the names (default %(default)s)"
    )
    parser.add_argument(
        "--validation-share",
        type=_share,
        default=0.2,
        metavar="SHARE",
        help="of the names that are not in test (default %(default)s)",
    )
    parser.add_argument("--labels", metavar="CSV", help="columns id and label: the shapes' categories from now on")
    parser.add_argument("--class-texts", metavar="FILE", help="the classes' embeddings, to lie beside the data")
    changes = parser.add_argument_group("a worse teacher, of the training shapes alone")
    changes.add_argument(
        "--wrong-images", type=float, default=0.0, metavar="SHARE", help="give so many shapes another one's images"
    )
    changes.add_argument(
        "--embedding-noise", type=float, default=0.0, metavar="NORM", help="Gaussian noise on unit embeddings"
    )
    other = parser.add_argument_group("another teacher, made of this one by a random rotation, a cut and noise")
    other.add_argument("--teacher-width", type=positive, metavar="N", help="numbers of an embedding that are kept")
    other.add_argument("--teacher-noise", type=float, default=0.0, metavar="NORM", help="Gaussian noise of its own")
    parser.add_argument("--overwrite", action="store_true", help="replace what --output already has")
    parser.set_defaults(prepare=_prepare_resplit)


def _prepare_resplit(arguments: argparse.Namespace) -> dict[str, Any]:
    changes = {field.name: getattr(arguments, field.name) for field in fields(TeacherChanges)}
    names = ("seed", "test_share", "validation_share", "labels", "class_texts", "overwrite")
    return resplit_dataset(
        arguments.dataset,
        arguments.output,
        changes=TeacherChanges(**changes),
        **{name: getattr(arguments, name) for name in names},
    )


def _prepare_meshes(arguments: argparse.Namespace) -> dict[str, Any]:
    rendering = None
    if not arguments.no_images:
        rendering = RenderSettings(
            num_views=arguments.num_views,
            resolution=arguments.resolution,
            elevations=tuple(arguments.elevation),
            background=arguments.background,
            ambient=arguments.ambient,
        )
    return prepare_mesh_folder(
        arguments.folder,
        metadata=arguments.metadata,
        up_axis=arguments.up_axis,
        rendering=rendering,
        test_share=arguments.test_share,
        keep_collision=arguments.keep_collision,
        skip_parts=arguments.skip_parts,
        keep_mesh=arguments.keep_mesh,
        **_common(arguments),
    )


def _color(text: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a color's name or #rrggbb, got {text}") from None


def _common(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values of the common arguments, by the names that every source's function has for them."""
    names = ("num_points", "seed", "num_workers", "overwrite", "num_shards", "shard_index")
    return {"out": arguments.output, **{name: getattr(arguments, name) for name in names}}


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write the dataset to")
    parser.add_argument(
        "--num-points", type=positive, default=10_000, metavar="N", help="points a shape (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=from_zero, default=0, metavar="N", help="seed of the sampling (default %(default)s)"
    )
    parser.add_argument(
        "--num-workers",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes; the result does not depend on it (default: one a core)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what --output already has instead of resuming it"
    )
    parser.add_argument(
        "--num-shards",
        type=positive,
        default=1,
        metavar="N",
        help="share the work among N runs of this command, all with the same --output (default %(default)s)",
    )
    parser.add_argument(
        "--shard-index",
        type=from_zero,
        default=0,
        metavar="I",
        help="which of the N runs this is, from 0 (default %(default)s)",
    )


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and below 1, got {text}")
    return number


def print_summary(report: dict[str, Any], out: str) -> None:
    for line in summary_of(report, out):
        print(line)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    # Shapes are shared out by processes, which have this before their numpy comes in; threads for the small matrix
    # products of one shape would only take time from one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with exit_on_sigterm():
        report = arguments.prepare(arguments)
    print_summary(report, arguments.output)


if __name__ == "__main__":
    from mrd_hf_cli.running import run_script

    run_script(main)
