"""Caching a teacher's embeddings: the right embedding in the right row, nothing lost, folders written whole."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Dataset, Features, Value, load_dataset
from PIL import Image
from support.forked_processes import run_command
from support.paths import SCRIPTS
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip

from mrd_hf.commands.embed_teacher import main
from mrd_hf.data.embedding.teacher_embedding import check_folders, embed_dataset, embed_dataset_folder
from mrd_hf.data.schema import EMBEDDING_COLUMNS, TEACHER_COLUMNS, check_columns, triplet_features
from mrd_hf.errors import UserError
from mrd_hf.models.teacher_folder import folder_revision
from mrd_hf.teacher import Teacher


NAMES = ["chair", "lamp", "chair", "table", "bed"]
IMAGE_COUNTS = [1, 3, 0, 2, 1]


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("teacher") / "tiny-clip")


@pytest.fixture(scope="module")
def teacher(teacher_folder):
    return Teacher.from_pretrained(teacher_folder)


def make_rows(names=NAMES, seed=0):
    generator = np.random.default_rng(seed)
    rows = []
    for index, name in enumerate(names):
        images = [
            Image.fromarray(generator.integers(0, 256, (12, 9, 3), dtype=np.uint8))
            for _ in range(IMAGE_COUNTS[index % len(IMAGE_COUNTS)])
        ]
        rows.append(
            {
                "schema_version": 1,
                "id": f"set/{index}",
                "source": "test",
                "name": name,
                "category": None,
                "license": "CC0-1.0",
                "creator": "nobody",
                "points": generator.normal(size=(7, 3)).astype(np.float16),
                "colors": generator.integers(0, 256, (7, 3), dtype=np.uint8),
                "images": images,
                "texts": [{"text": name, "source": "name"}, {"text": f"one {name}", "source": "caption"}],
                "label": name,
            }
        )
    return rows


def make_dataset(names=NAMES, seed=0):
    return Dataset.from_list(
        make_rows(names, seed), features=Features({**triplet_features(), "label": Value("string")})
    )


def write_folder(folder):
    (folder / "data").mkdir(parents=True)
    make_dataset().to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    make_dataset(["mug", "sofa"], seed=1).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    labels = ["mug", "sofa", "chair"]
    pq.write_table(pa.table({"label": labels, "text_embed": [[1.0, 0.0]] * 3}), folder / "class_texts.parquet")
    (folder / "ATTRIBUTION.md").write_text("Made by nobody.\n")
    # As `push_to_hub` writes it: the header holds the schema, which has no embeddings.
    header = {"license": "cc0-1.0", "dataset_info": make_dataset().info._to_yaml_dict()}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(header)}---\n# Furniture\n")
    return folder


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_every_row_gets_the_embeddings_of_its_own_images_and_texts(teacher, teacher_folder, batch_size):
    dataset, revision = make_dataset(), folder_revision(teacher_folder)
    embedded = embed_dataset(dataset, teacher, batch_size=batch_size)
    check_columns(embedded.features, EMBEDDING_COLUMNS, "embedded")
    assert embedded.features["image_embeds"].shape == (None, CLIP_WIDTH)
    for row, source in zip(embedded.with_format("numpy"), dataset, strict=True):
        for column, expected in (
            ("image_embeds", teacher.embed_images(source["images"])),
            ("text_embeds", teacher.embed_texts([entry["text"] for entry in source["texts"]])),
        ):
            assert row[column].shape == expected.shape
            np.testing.assert_allclose(row[column], expected.numpy(), atol=1e-3)
        assert row["teacher"] == f"tiny-clip@{revision}" and row["teacher_revision"] == revision
        assert row["image_backend"] == "CLIPImageProcessorPil"


def test_the_commit_that_a_teacher_came_from_is_recorded(teacher):
    from_hub = Teacher(teacher.model, teacher.processor, "someone/tiny-clip", revision="0123abc")
    embedded = embed_dataset(make_dataset(), from_hub)
    assert set(embedded["teacher_revision"]) == {"0123abc"}
    assert set(embedded["teacher"]) == {"someone/tiny-clip@0123abc"}


def test_other_columns_stay_as_they_are(teacher):
    dataset = make_dataset()
    embedded = embed_dataset(dataset, teacher)
    kept = embedded.remove_columns([*EMBEDDING_COLUMNS, *TEACHER_COLUMNS])
    assert kept.features == dataset.features
    for row, source in zip(kept, dataset, strict=True):
        assert [image.tobytes() for image in row.pop("images")] == [image.tobytes() for image in source.pop("images")]
        assert row == source


class CountingTeacher(Teacher):
    """Keeps the texts it was asked for."""

    asked: list[str]

    def embed_classes(self, labels, templates, batch_size):
        self.asked.extend(template.format(label) for label in labels for template in templates)
        return super().embed_classes(labels, templates, batch_size)


def test_each_distinct_text_is_embedded_once(teacher):
    counting = CountingTeacher(teacher.model, teacher.processor, "counting")
    counting.asked = []  # without the probe's
    embed_dataset(make_dataset(), counting, batch_size=2)
    expected = {text for name in NAMES for text in (name, f"one {name}")}
    assert len(counting.asked) == len(expected)
    assert set(counting.asked) == expected


def test_replaces_embeddings_of_another_teacher(teacher, tmp_path):
    first = embed_dataset(make_dataset(), teacher)
    other = Teacher.from_pretrained(save_tiny_clip(tmp_path / "other-clip", seed=1))
    second = embed_dataset(first, other)
    assert set(second.column_names) == set(first.column_names)
    assert set(second["teacher"]) == {other.identifier} != set(first["teacher"])
    assert not np.allclose(
        second.with_format("numpy")[0]["image_embeds"], first.with_format("numpy")[0]["image_embeds"]
    )


def test_dataset_without_texts_is_refused(teacher):
    with pytest.raises(UserError, match="furniture: no column 'texts'"):
        embed_dataset(make_dataset().remove_columns("texts"), teacher, name="furniture")


def test_script_writes_a_folder_that_loads(teacher, teacher_folder, tmp_path):
    folder = write_folder(tmp_path / "furniture")
    done = run_command([SCRIPTS / "embed_teacher.py", folder, "--teacher", teacher_folder, "--batch_size", "2"])
    assert done.returncode == 0, done.stderr
    assert "test 2, train 5" in done.stdout

    out = tmp_path / "furniture-tiny-clip"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "ATTRIBUTION.md",
        "README.md",
        "class_texts.parquet",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
        "report.json",
    ]
    splits = load_dataset(str(out))
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 5, "test": 2}
    assert splits["test"]["label"][:] == ["mug", "sofa"]
    check_columns(splits["test"].features, ["points", "colors", "images", "texts", *EMBEDDING_COLUMNS], "out")
    expected = teacher.embed_texts(["mug", "one mug"]).numpy()
    np.testing.assert_allclose(splits["test"].with_format("numpy")[0]["text_embeds"], expected, atol=1e-3)
    assert "license: cc0-1.0" in (out / "README.md").read_text()
    assert "# Furniture" in (out / "README.md").read_text()

    classes = pq.read_table(out / "class_texts.parquet").to_pydict()
    assert classes["label"] == ["mug", "sofa", "chair"]
    class_embeds = np.array(classes["text_embed"], dtype=np.float32)
    assert class_embeds.shape == (3, CLIP_WIDTH)
    np.testing.assert_allclose(np.linalg.norm(class_embeds, axis=1), 1, atol=1e-3)


def test_overwriting_leaves_no_split_of_an_earlier_dataset(teacher, tmp_path):
    folder = write_folder(tmp_path / "furniture")
    (tmp_path / "out" / "data").mkdir(parents=True)
    make_dataset().to_parquet(tmp_path / "out" / "data" / "train-00000-of-00002.parquet")
    embed_dataset_folder(folder, tmp_path / "out", teacher, ["{}"], overwrite=True)
    assert len(load_dataset(str(tmp_path / "out"), split="train")) == len(NAMES)


@pytest.mark.parametrize(
    ("out", "overwrite", "message"),
    [("furniture", True, "own folder"), ("full", False, "has a dataset already"), ("file", True, "is a file")],
)
def test_output_folders_that_are_refused(tmp_path, out, overwrite, message):
    (tmp_path / "furniture").mkdir()
    (tmp_path / "full" / "data").mkdir(parents=True)
    (tmp_path / "full" / "data" / "train-00000-of-00001.parquet").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=message):
        check_folders(tmp_path / "furniture", tmp_path / out, overwrite)


def test_missing_dataset_is_told_before_the_teacher_loads(tmp_path):
    with pytest.raises(UserError, match="nothing: no such dataset folder"):
        main([str(tmp_path / "nothing"), "--teacher", "someone/no-such-teacher"])


@pytest.mark.parametrize("kind", ["folder", "package"])
def test_a_revision_of_what_is_not_on_the_hub_is_refused(teacher_folder, tmp_path, kind):
    name = str(teacher_folder) if kind == "folder" else "package:some-teacher/model"
    folder = write_folder(tmp_path / "furniture")
    with pytest.raises(UserError, match=f"--revision is for a teacher on the Hub, and {name} is a folder.*leave out"):
        main([str(folder), "--teacher", name, "--revision", "main"])
    # A folder's digest is one that is checked.
    with pytest.raises(UserError, match="sha256:0123456789abcdef"):
        main([str(folder), "--teacher", str(teacher_folder), "--revision", "sha256:0123456789abcdef"])


def test_folder_that_is_no_dataset(teacher, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty.*mrd-hf prepare"):
        embed_dataset_folder(tmp_path / "empty", tmp_path / "out", teacher, ["{}"])
    assert not (tmp_path / "out").exists()
