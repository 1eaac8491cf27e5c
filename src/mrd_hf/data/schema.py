"""The one schema of a triplet dataset, version 1: a 3D shape, its images and its texts, with provenance.

| column | type | meaning |
|---|---|---|
| `schema_version` | int8 | version of this schema; a dataset without the column has version 1 |
| `id` | string | unique within the dataset, e.g. `BlendSwap-CC-0/armchair` |
| `source` | string | where the shape comes from, e.g. `sweethome3d` |
| `name` | string | the object's name as its source gives it |
| `category` | string | the class that the shape belongs to, or null where it is unknown |
| `license`, `creator` | string | SPDX identifier of the licence, and whom to credit |
| `points` | float16 or float32 (num_points, 3) | surface points, centred, in the unit sphere, y up, in random order |
| `colors` | uint8 (num_points, 3) | sRGB colour of each point |
| `images` | list of image | pictures of the shape; may be none |
| `texts` | list of {`text`, `source`} | texts about the shape; `source` says which kind, e.g. `name`, `caption` |

Teacher embeddings, once cached (see `mrd-hf embed-teacher`):

| column | type | meaning |
|---|---|---|
| `image_embeds` | float16 (num_images, embedding_dim) | one L2-normalised embedding an image, in their order |
| `text_embeds` | float16 (num_texts, embedding_dim) | one L2-normalised embedding a text, in their order |
| `teacher` | string | the model that made them |
| `teacher_revision` | string | its commit on the Hub, the digest of its folder, or null |
| `image_backend` | string | class of its image processor, e.g. `CLIPImageProcessorPil`: backends resize differently |

Datasets from before the last two columns load all the same. Where a source publishes embeddings of pictures and not
the pictures (OpenShape), `images` is empty.

`category` is what zero-shot evaluation, linear probe, few-shot and same-category neighbours go by.

Further columns are kept and ignored; one of them is `mesh`, which `mrd-hf prepare meshes --keep-mesh` writes.
"""

from collections.abc import Iterable

import pyarrow.compute as pc
from datasets import Array2D, ClassLabel, Dataset, Features, Image, List, Value

from ..errors import UserError


SCHEMA_VERSION = 1

SHAPE_COLUMNS = ("id", "points", "colors")
SOURCE_COLUMNS = ("images", "texts")
EMBEDDING_COLUMNS = ("image_embeds", "text_embeds", "teacher")
# Written beside the embeddings; older datasets lack them.
TEACHER_COLUMNS = ("teacher_revision", "image_backend")
FLOATS = ("float16", "float32")
TEXTS = ("string", "large_string", "null")


def triplet_features(embedding_dim: int | None = None, points_dtype: str = "float16") -> Features:
    """The `datasets.Features` of a triplet dataset.

    Args:
        embedding_dim (`int`, *optional*):
            Width of the cached teacher embeddings. Without it, the features have no embedding columns.
        points_dtype (`str`, defaults to `"float16"`):
            Of `points`: `"float16"` or `"float32"`.
    """
    features = {
        "schema_version": Value("int8"),
        "id": Value("string"),
        "source": Value("string"),
        "name": Value("string"),
        "category": Value("string"),
        "license": Value("string"),
        "creator": Value("string"),
        "points": Array2D((None, 3), points_dtype),
        "colors": Array2D((None, 3), "uint8"),
        "images": List(Image()),
        "texts": List({"text": Value("string"), "source": Value("string")}),
    }
    if embedding_dim is not None:
        features["image_embeds"] = Array2D((None, embedding_dim), "float16")
        features["text_embeds"] = Array2D((None, embedding_dim), "float16")
        features |= dict.fromkeys(("teacher", *TEACHER_COLUMNS), Value("string"))
    return Features(features)


def embedding_dim(features: Features) -> int:
    """Width of the cached teacher embeddings of a dataset with these features."""
    return features["image_embeds"].shape[1]


def check_columns(features: Features, needed: Iterable[str], dataset_name: str) -> None:
    """Raise a [`UserError`] that names the first column of `needed` that is missing or of another type.

    Args:
        features (`datasets.Features`): Of the dataset at hand.
        needed (iterable of `str`): Column names, from `SHAPE_COLUMNS`, `SOURCE_COLUMNS` and `EMBEDDING_COLUMNS`.
        dataset_name (`str`): For the message: the dataset's folder or its name on the Hub.
    """
    expected = triplet_features(embedding_dim=1)
    for column in needed:
        if column not in features:
            remedy = (
                "cache the teacher's embeddings with mrd-hf embed-teacher"
                if column in EMBEDDING_COLUMNS
                else "prepare it with mrd-hf prepare"
            )
            raise UserError(f"{dataset_name}: no column '{column}' (it has {', '.join(features)}); {remedy}.")
        wanted, found = expected[column], features[column]
        if isinstance(wanted, Array2D):
            dtypes = FLOATS if wanted.dtype in FLOATS else (wanted.dtype,)
            fits = isinstance(found, Array2D) and found.dtype in dtypes
            fits = fits and (column in EMBEDDING_COLUMNS or found.shape[1] == wanted.shape[1])
        else:
            fits = type(wanted) is type(found)
        if not fits:
            raise UserError(f"{dataset_name}: column '{column}' is {found}, expected {wanted}.")


def category_names(dataset: Dataset, dataset_name: str) -> list[str | None]:
    """The class of each shape by name, as the column `category` has it; None where it is unknown, or without a column.

    Args:
        dataset (`datasets.Dataset`): Its column may be text, or a `ClassLabel`, of which -1 is none.
        dataset_name (`str`): For the message.

    Raises:
        UserError: The column is of another type, such as numbers without names.
    """
    if "category" not in dataset.features:
        return [None] * len(dataset)
    feature, values = dataset.features["category"], list(dataset["category"])
    if isinstance(feature, ClassLabel):
        return [None if place is None or place < 0 else feature.names[place] for place in values]
    if not isinstance(feature, Value) or feature.dtype not in TEXTS:
        raise UserError(
            f"{dataset_name}: column 'category' is {feature}, expected the name of each shape's class as text, or a "
            "ClassLabel, which has names; write the names into it (null where the class is unknown)."
        )
    return values


def check_schema_version(dataset: Dataset, dataset_name: str) -> None:
    """Raise a [`UserError`] if a dataset's column `schema_version` names a later version than this package knows."""
    if "schema_version" in dataset.features:
        version = pc.max(dataset.data.column("schema_version")).as_py()
        if version is not None and version > SCHEMA_VERSION:
            raise UserError(
                f"{dataset_name}: column 'schema_version' says {version}, and this mrd-hf reads up to "
                f"{SCHEMA_VERSION}; upgrade it with pip install --upgrade mrd-hf."
            )
