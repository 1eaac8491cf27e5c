"""`mrd-hf prepare resplit`: rows keep what they had, in new splits; a worse teacher is as much worse as asked."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset
from support.paths import DEMO_DATA
from support.tiny_triplets import WIDTH, save_tiny_triplets, tiny_rows

from mrd_hf.commands import prepare
from mrd_hf.data.class_texts import read_class_texts
from mrd_hf.data.embedding.cached_teacher import check_class_texts_are_of
from mrd_hf.data.embedding.embedded_files import read_record, to_footer
from mrd_hf.data.loading import load_all_splits
from mrd_hf.data.preparation import parquet_writing
from mrd_hf.data.resplitting import resplitting
from mrd_hf.data.resplitting.teacher_changes import OtherTeacher, generator, normalized, with_noise, wrong_partners
from mrd_hf.data.schema import triplet_features
from mrd_hf.errors import UserError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = save_tiny_triplets(tmp_path_factory.mktemp("data") / "tiny")
    # Its split test has the ids of train.
    (folder / "data" / "test-00000-of-00001.parquet").unlink()
    labels = folder / "labels.csv"
    ids = [row for split in load_all_splits(folder).values() for row in split["id"]]
    lines = [f"{shape_id},{'mug' if '/mug' in shape_id else ''}" for shape_id in ids]
    labels.write_text("\n".join(["id,label", *lines]) + "\n")
    return folder


def resplit(tiny, out, *arguments):
    prepare.main(["resplit", str(tiny), "--output", str(out), "--seed", "3", *arguments])
    return load_all_splits(out)


def by_id(splits):
    """Each row and its split, by id; each occurs once."""
    return {row["id"]: (split, row) for split, data in splits.items() for row in data.with_format("numpy")}


def test_rows_are_what_they_were(tiny, tmp_path, capsys):
    texts = str(tiny / "class_texts.parquet")
    splits = resplit(tiny, tmp_path / "new", "--labels", str(tiny / "labels.csv"), "--class-texts", texts)
    before, after = by_id(load_all_splits(tiny)), by_id(splits)
    assert set(splits) == {"train", "validation", "test"} and before.keys() == after.keys()
    for shape_id, (_, row) in before.items():
        new = after[shape_id][1]
        assert new["category"] == ("mug" if row["name"] == "mug" else None)
        for column in ("points", "colors", "image_embeds", "text_embeds"):
            np.testing.assert_array_equal(new[column], row[column])
        assert all(new[column] == row[column] for column in ("name", "teacher", "shelf"))
    assert len({(row["name"], split) for split, row in after.values()}) == 4
    for data in splits.values():
        assert data["id"][:] == sorted(data["id"])
    names, embeds = read_class_texts(tmp_path / "new" / "class_texts.parquet")
    expected = read_class_texts(texts)
    assert names == expected[0] and np.abs(embeds - expected[1]).max() < 1e-3
    report = json.loads((tmp_path / "new" / "report.json").read_text())
    assert report["splits"] == {split: data.num_rows for split, data in splits.items()}
    assert report["settings"]["seed"] == 3 and sum(report["labeled"].values()) == 10
    assert "validation" in capsys.readouterr().out


def test_the_current_folder_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is the folder that you are in"):
        resplit(tiny, ".", "--overwrite")


def test_a_second_time_gives_the_same_files_and_is_refused_without_overwrite(tiny, tmp_path):
    resplit(tiny, tmp_path / "new", "--wrong-images", "0.5", "--embedding-noise", "0.3")
    files = {file: file.read_bytes() for file in sorted((tmp_path / "new").rglob("*.*")) if file.is_file()}
    with pytest.raises(UserError, match="--overwrite"):
        resplit(tiny, tmp_path / "new")
    resplit(tiny, tmp_path / "new", "--wrong-images", "0.5", "--embedding-noise", "0.3", "--overwrite")
    assert {file: file.read_bytes() for file in sorted((tmp_path / "new").rglob("*.*")) if file.is_file()} == files


@pytest.mark.parametrize(("inside", "message"), [("report.json", "is no prepared dataset"), (None, "is read")])
def test_overwrite_spares_what_is_no_dataset_and_the_source_itself(tiny, tmp_path, inside, message):
    """An evaluation's folder has a report.json as well."""
    out = tiny if inside is None else tmp_path / "evaluation"
    if inside is not None:
        out.mkdir()
        (out / inside).write_text("{}")
    files = {file: file.read_bytes() for file in out.rglob("*.*") if file.is_file()}
    with pytest.raises(UserError, match=message):
        resplit(tiny, out, "--overwrite")
    assert {file: file.read_bytes() for file in out.rglob("*.*") if file.is_file()} == files


def test_wrong_images_are_of_the_training_shapes_alone_and_go_with_their_embeddings(tiny, tmp_path):
    before, after = by_id(load_all_splits(tiny)), by_id(resplit(tiny, tmp_path / "n", "--wrong-images", "0.5"))
    moved = [i for i in after if not np.array_equal(after[i][1]["image_embeds"], before[i][1]["image_embeds"])]
    num_train = sum(split == "train" for split, _ in after.values())
    assert len(moved) == round(0.5 * num_train) and {after[i][0] for i in moved} == {"train"}
    of_image = {row["image_embeds"].tobytes(): (i, row["images"][0].tobytes()) for i, (_, row) in before.items()}
    for i in moved:
        origin, image = of_image[after[i][1]["image_embeds"].tobytes()]
        assert origin != i and image == after[i][1]["images"][0].tobytes()
        np.testing.assert_array_equal(after[i][1]["text_embeds"], before[i][1]["text_embeds"])


def test_noise_on_embeddings_is_of_the_training_shapes_alone_and_as_large_as_asked(tiny, tmp_path):
    before, after = by_id(load_all_splits(tiny)), by_id(resplit(tiny, tmp_path / "n", "--embedding-noise", "0.5"))
    for i, (split, row) in after.items():
        for column in ("image_embeds", "text_embeds"):
            old, new = (r[column].astype(np.float64) for r in (before[i][1], row))
            assert np.array_equal(old, new) == (split != "train")
            assert np.linalg.norm(new, axis=1) == pytest.approx(1, abs=2e-3)
    trained = [(before[i][1], row) for i, (split, row) in after.items() if split == "train"]
    for column in ("image_embeds", "text_embeds"):
        cosines = np.concatenate([(old[column].astype(np.float64) * new[column]).sum(1) for old, new in trained])
        # Of noise at right angles, in many dimensions.
        assert cosines.mean() == pytest.approx(1 / np.sqrt(1 + 0.5**2), abs=0.04)


@pytest.mark.parametrize(
    "changes", [(), ("--wrong-images", "0.5", "--embedding-noise", "0.3", "--teacher-width", "5")]
)
def test_no_more_than_a_row_group_is_in_memory_and_the_groups_change_nothing(tiny, tmp_path, monkeypatch, changes):
    """All of a large dataset is more than one array of arrow's can hold."""
    whole, written, write = by_id(resplit(tiny, tmp_path / "whole", *changes)), [], pq.ParquetWriter.write_table
    monkeypatch.setattr(resplitting, "ROWS_PER_GROUP", 4)
    monkeypatch.setattr(
        pq.ParquetWriter,
        "write_table",
        lambda self, table, *given, **options: written.append(len(table)) or write(self, table, *given, **options),
    )
    parts = by_id(resplit(tiny, tmp_path / "parts", *changes))
    assert max(written) == 4 and sum(written) == 40
    written.clear()
    monkeypatch.setattr(parquet_writing, "BYTES_PER_GROUP", 1)  # of large shapes there are fewer in a group
    resplit(tiny, tmp_path / "large", *changes)
    assert written == [1] * 40
    assert whole.keys() == parts.keys()
    for i, (split, row) in parts.items():
        assert split == whole[i][0]
        for column, value in row.items():
            if column == "images":
                assert [image.tobytes() for image in value] == [image.tobytes() for image in whole[i][1][column]]
            else:
                np.testing.assert_array_equal(value, whole[i][1][column])


@pytest.mark.parametrize("seed", [3, 4])
def test_a_worse_teacher_is_that_of_the_seed(tiny, tmp_path, seed):
    before = by_id(load_all_splits(tiny))
    for option in ("--wrong-images", "--embedding-noise"):
        splits = resplit(tiny, tmp_path / option, "--seed", str(seed), option, "0.5")
        after, ids = by_id(splits), splits["train"]["id"][:]
        if option == "--wrong-images":
            for i, partner in zip(ids, wrong_partners(len(ids), 0.5, seed), strict=True):
                np.testing.assert_array_equal(after[i][1]["image_embeds"], before[ids[partner]][1]["image_embeds"])
            continue
        for column in ("image_embeds", "text_embeds"):
            rng = generator(seed, f"noise on {column}")
            for i in ids:
                expected = with_noise(before[i][1][column].astype(np.float64), 0.5, rng)
                np.testing.assert_allclose(after[i][1][column], expected, atol=1e-3)


def test_shares_are_of_test_names_and_of_validation_names_among_the_rest(tmp_path):
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"
    names = [f"{letter}{letter.lower()}x" if letter.islower() else f"{letter.lower()}y" for letter in letters]
    rows = [row | {"name": name, "id": name} for name, row in zip(names, tiny_rows(40), strict=True)]
    features = triplet_features(embedding_dim=WIDTH)
    (tmp_path / "old" / "data").mkdir(parents=True)
    data = Dataset.from_list([{name: row[name] for name in features} for row in rows], features=features)
    data.to_parquet(tmp_path / "old" / "data" / "train-00000-of-00001.parquet")
    splits = resplit(tmp_path / "old", tmp_path / "new", "--test-share", "0.5", "--validation-share", "0.1")
    assert {split: part.num_rows for split, part in splits.items()} == {"train": 18, "validation": 2, "test": 20}


@pytest.mark.parametrize(("width", "noise"), [(5, 0.0), (WIDTH, 0.0), (5, 0.7)])
def test_images_texts_and_classes_are_of_one_other_teacher(tiny, tmp_path, width, noise):
    texts = str(tiny / "class_texts.parquet")
    options = ("--teacher-width", str(width), "--teacher-noise", str(noise), "--class-texts", texts)
    before, after = by_id(load_all_splits(tiny)), by_id(resplit(tiny, tmp_path / "n", *options))
    teacher = OtherTeacher(WIDTH, width, noise, seed=3)
    for i, (_, row) in after.items():
        for column in ("image_embeds", "text_embeds"):
            np.testing.assert_allclose(row[column], teacher(before[i][1][column]), atol=2e-3)
    classes, expected = (read_class_texts(file)[1] for file in (tmp_path / "n" / "class_texts.parquet", texts))
    np.testing.assert_allclose(classes, teacher(expected), atol=2e-3)
    if width == WIDTH:  # a rotation alone changes no cosine, across images, texts and classes
        cosines = []
        for rows, of_classes in ((before, expected), (after, classes)):
            embeds = [rows[i][1][column] for i in before for column in ("image_embeds", "text_embeds")]
            together = np.concatenate([*embeds, of_classes]).astype(np.float64)
            cosines.append(together @ together.T)
        np.testing.assert_allclose(cosines[1], cosines[0], atol=5e-3)


def test_another_teacher_has_another_name_width_and_classes(tiny, tmp_path):
    texts = str(tiny / "class_texts.parquet")
    options = ("--teacher-width", "5", "--class-texts", texts)
    splits = resplit(tiny, tmp_path / "n", *options, "--teacher-noise", "0.2")
    assert [data.features["image_embeds"].shape[1] for data in splits.values()] == [5, 5, 5]
    assert set(splits["test"]["teacher"]) == {"a-teacher-rotated-5-noise-0.2-seed-3"}
    assert read_class_texts(tmp_path / "n" / "class_texts.parquet")[1].shape == (4, 5)


def class_texts_of(tiny, file, teacher, width=WIDTH):
    """The tiny dataset's classes as mrd-hf embed-teacher leaves them: the footer says whose they are."""
    classes = Dataset.from_parquet(str(tiny / "class_texts.parquet"), cache_dir=str(file.parent / "cache"))
    rows = {"label": classes["label"][:], "text_embed": [row[:width] for row in classes["text_embed"]]}
    record = {"source": "x", "settings": {"teacher": teacher, "dtype": "float32"}, "left_out": []}
    pq.write_table(Dataset.from_dict(rows).data.table.replace_schema_metadata(to_footer(record)), file)
    return file


@pytest.mark.parametrize("options", [(), ("--teacher-width", "5")])
def test_class_texts_say_whose_they_are_as_the_rows_do(tiny, tmp_path, options):
    texts = class_texts_of(tiny, tmp_path / "texts.parquet", "a-teacher")
    splits = resplit(tiny, tmp_path / "new", "--class-texts", str(texts), *options)
    (teacher,) = set(splits["test"]["teacher"])
    written = tmp_path / "new" / "class_texts.parquet"
    assert read_record(written)["settings"] == {"teacher": teacher, "dtype": "float32"}
    check_class_texts_are_of(written, "those of the rows", teacher)
    with pytest.raises(UserError, match="are those of the teacher a-teacher"):
        check_class_texts_are_of(written, "those of another", "another-teacher")
    # Others say nothing of it, and still do not.
    assert read_record(tiny / "class_texts.parquet") is None
    resplit(tiny, tmp_path / "silent", "--class-texts", str(tiny / "class_texts.parquet"), *options)
    assert read_record(tmp_path / "silent" / "class_texts.parquet") is None


@pytest.mark.parametrize("options", [(), ("--teacher-width", "5")])
@pytest.mark.parametrize(
    ("teacher", "width", "message"),
    [
        ("another-teacher", WIDTH, r"texts\.parquet are those of the teacher another-teacher, .* space of a-teacher"),
        ("a-teacher", 8, r"texts\.parquet: its embeddings have width 8, those of .*tiny 12"),
    ],
)
def test_class_texts_of_another_teacher_are_refused(tiny, tmp_path, teacher, width, message, options):
    texts = class_texts_of(tiny, tmp_path / "texts.parquet", teacher, width)
    with pytest.raises(UserError, match=message):
        resplit(tiny, tmp_path / "new", "--class-texts", str(texts), *options)
    assert not (tmp_path / "new").exists()


def test_another_teacher_is_a_random_projection():
    """A full width keeps every cosine; a smaller one keeps them on average, by a brute-force look at all pairs."""
    rng = np.random.default_rng(0)
    embeds = normalized(rng.standard_normal((40, 64)))
    turned = OtherTeacher(64, 64, 0.0, seed=1)(embeds)
    np.testing.assert_allclose(turned @ turned.T, embeds @ embeds.T, atol=1e-12)
    assert np.abs(turned - embeds).max() > 0.1
    cut = OtherTeacher(64, 32, 0.0, seed=1)(embeds)
    gaps = [cut[i] @ cut[j] - embeds[i] @ embeds[j] for i in range(40) for j in range(i)]
    assert abs(np.mean(gaps)) < 0.02 and 0.05 < np.std(gaps) < 0.2
    # Its noise is the same for equal embeddings, so that equal texts stay equal.
    noisy = OtherTeacher(64, 32, 0.5, seed=1)(np.concatenate([embeds, embeds]))
    np.testing.assert_array_equal(noisy[:40], noisy[40:])
    assert np.linalg.norm(noisy[:40] - cut, axis=1).mean() == pytest.approx(0.45, abs=0.1)


def test_noise_has_the_norm_that_is_asked_for():
    embeds = normalized(np.random.default_rng(0).standard_normal((500, 128)))
    noisy = with_noise(embeds, 1.0, np.random.default_rng(1))
    # Orthogonal on average, so the cosine falls to 1 / sqrt(1 + 1).
    assert (noisy * embeds).sum(axis=1).mean() == pytest.approx(2**-0.5, abs=0.02)


@pytest.mark.parametrize(("count", "share", "expected"), [(10, 0.3, 3), (10, 0, 0), (1, 1, 0), (7, 1, 7), (2, 0.5, 0)])
def test_wrong_partners_are_a_permutation_of_which_a_share_moves(count, share, expected):
    partners = wrong_partners(count, share, seed=0)
    assert sorted(partners) == list(range(count))
    assert (partners != np.arange(count)).sum() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--wrong-images", "1.5"], "--wrong-images"),
        (["--embedding-noise", "-1"], "--embedding-noise"),
        (["--teacher-noise", "0.1"], "--teacher-width"),
        (["--teacher-width", "99"], "from 1 to 12"),
        (["--labels", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_mistakes_are_told_and_write_nothing(tiny, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        resplit(tiny, tmp_path / "new", *arguments)
    assert not (tmp_path / "new").exists()


def test_labels_must_be_classes_and_complete(tiny, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("id,label\ntiny/chair-0,chair\n")
    with pytest.raises(UserError, match="no row for the shape"):
        resplit(tiny, tmp_path / "new", "--labels", str(few))
    odd = tmp_path / "odd.csv"
    odd.write_text((tiny / "labels.csv").read_text().replace(",mug", ",cup"))
    with pytest.raises(UserError, match="the label 'cup' is no class"):
        texts = str(tiny / "class_texts.parquet")
        resplit(tiny, tmp_path / "new", "--labels", str(odd), "--class-texts", texts)


def test_a_shape_with_two_labels_is_refused(tiny, tmp_path):
    lines = (tiny / "labels.csv").read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([*lines, f"{lines[1].partition(',')[0]},cup"]) + "\n")
    with pytest.raises(UserError, match=r"twice\.csv: has two rows for the shape 'tiny/.*'; leave one of them out"):
        resplit(tiny, tmp_path / "new", "--labels", str(tmp_path / "twice.csv"))


def test_labels_may_be_as_excel_writes_them(tiny, tmp_path):
    marked = tmp_path / "marked.csv"
    marked.write_bytes((tiny / "labels.csv").read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    splits = resplit(tiny, tmp_path / "new", "--labels", str(marked))
    assert sum(category == "mug" for data in splits.values() for category in data["category"]) == 10


def test_a_damaged_file_of_labels_is_named(tiny, tmp_path):
    damaged = tmp_path / "damaged.csv"
    for content in ("id,label\na," + "x" * 200_000, 'id,label\na,"mug\nb,cup\n'):  # too long a field, an open quote
        damaged.write_text(content)
        with pytest.raises(UserError, match=f"^cannot read the labels {damaged}: "):
            resplit(tiny, tmp_path / "new", "--labels", str(damaged))
    assert not (tmp_path / "new").exists()


def test_the_furnitures_label_texts_are_of_its_labels():
    names, embeds = read_class_texts(DEMO_DATA / "label_texts.parquet")
    old_names, old_embeds = read_class_texts(DEMO_DATA / "class_texts.parquet")
    assert len(names) == 66 and names == sorted(names) and set(old_names) < set(names)
    # The classes that the demo has are embedded as there.
    rows = [names.index(name) for name in old_names]
    np.testing.assert_allclose(embeds[rows], old_embeds, atol=2e-3)
    with (DEMO_DATA / "categories.csv").open(encoding="utf-8") as lines:
        labels = {line.rstrip("\n").rpartition(",")[2] for line in list(lines)[1:]}
    assert labels - {""} == set(names)


def test_load_dataset_reads_it_without_this_package(tiny, tmp_path):
    resplit(tiny, tmp_path / "new")
    found = load_dataset(str(tmp_path / "new"), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train", "validation", "test"}
