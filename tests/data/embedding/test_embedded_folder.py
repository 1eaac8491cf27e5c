"""Embedding a folder file by file: whole files, resumed and shared runs, prompts, and images of every kind."""

import io
import json
import os
import runpy
import signal
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, load_dataset
from embedding_runs import NUM_FILES, ROWS_PER_FILE, image_row, png, start, write_files, write_numbered
from PIL import Image
from support.false_claims import huge_png
from support.launched import run_as_launched
from support.paths import SCRIPTS
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip, save_tiny_fixed_siglip2

from mrd_hf.data.embedding import row_embedding, teacher_embedding
from mrd_hf.data.embedding.embedded_files import read_record
from mrd_hf.data.embedding.teacher_embedding import embed_dataset_folder
from mrd_hf.data.schema import triplet_features
from mrd_hf.errors import UserError
from mrd_hf.evaluation.classes.prompt_templates import OPENSHAPE_TEMPLATES
from mrd_hf.teacher import Teacher


NAMES = [f"train-{index:05d}-of-{NUM_FILES:05d}.parquet" for index in range(NUM_FILES)]


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("teacher") / "tiny-clip")


@pytest.fixture(scope="module")
def teacher(teacher_folder):
    return Teacher.from_pretrained(teacher_folder)


@pytest.fixture(scope="module")
def furniture(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("furniture") / "furniture")


class CountingTeacher(Teacher):
    """Keeps what it was asked for."""

    def __init__(self, teacher):
        self.images, self.texts = [], []
        super().__init__(teacher.model, teacher.processor, teacher.model_id, teacher.revision, teacher.name)
        self.images, self.texts = [], []  # the probe's are gone

    def embed_images(self, images):
        self.images += images
        return super().embed_images(images)

    def embed_classes(self, labels, templates, batch_size):
        self.texts += [template.format(label) for label in labels for template in templates]
        return super().embed_classes(labels, templates, batch_size)


def embed(folder, out, teacher, **options):
    report, _ = embed_dataset_folder(folder, out, teacher, ["{}"], **options)
    return report


def read(out):
    return load_dataset(str(out), split="train").with_format("numpy")


def data_files(out):
    return {file.name: file.stat().st_mtime_ns for file in (out / "data").iterdir()}


def test_each_file_gives_one_of_the_same_name_and_rows(furniture, teacher, tmp_path):
    report = embed(furniture, tmp_path / "out", teacher)
    assert report["rows"] == {"train": NUM_FILES * ROWS_PER_FILE} and report["missing"] == report["left_out"] == []
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert report["settings"] == {
        "teacher": teacher.identifier,
        "image_backend": "CLIPImageProcessorPil",
        "dtype": "float32",
        "text_templates": ["{}"],
        "unprompted_sources": ["retrieval"],
    }
    assert sorted(data_files(tmp_path / "out")) == NAMES
    for name in NAMES:
        ids = [pq.read_table(folder / "data" / name)["id"].to_pylist() for folder in (furniture, tmp_path / "out")]
        assert ids[0] == ids[1]
    for row, source in zip(read(tmp_path / "out"), load_dataset(str(furniture), split="train"), strict=True):
        expected = teacher.embed_images(source["images"]), teacher.embed_texts([t["text"] for t in source["texts"]])
        np.testing.assert_allclose(row["image_embeds"], expected[0], atol=1e-3)
        np.testing.assert_allclose(row["text_embeds"], expected[1], atol=1e-3)


@pytest.mark.parametrize("lost", [False, [], None], ids=["there", "an empty list", "null"])
def test_embeddings_whose_images_are_not_there_are_not_thrown_away(teacher, tmp_path, lost):
    """As in OpenShape's data. Where neither is there, there is nothing to lose."""
    rows = [image_row("pictured", [png(0)], [("a", "name")]), image_row("bare", [], [("b", "name")])]
    embed(write_files(tmp_path / "data", [rows]), tmp_path / "once", teacher)
    file = tmp_path / "once" / "data" / "train-00000-of-00001.parquet"
    if lost is False:
        assert [len(row["image_embeds"]) for row in read(tmp_path / "once")] == [1, 0]
        embed(tmp_path / "once", tmp_path / "twice", teacher)
        return
    table = pq.read_table(file)
    nobody = pa.array([lost, []], type=table.schema.field("images").type)
    pq.write_table(table.set_column(table.column_names.index("images"), "images", nobody), file)
    with pytest.raises(UserError, match="pictured: has embeddings of images, but no images to embed again"):
        embed(tmp_path / "once", tmp_path / "twice", teacher)
    assert not list((tmp_path / "twice" / "data").glob("*"))


def test_a_text_is_embedded_once_in_all_files(furniture, teacher, tmp_path):
    counting = CountingTeacher(teacher)
    embed(furniture, tmp_path / "out", counting, batch_size=2)
    assert len(counting.texts) == len(set(counting.texts)) == NUM_FILES * ROWS_PER_FILE + 1


def test_of_the_texts_at_hand_the_longest_unused_go_first(teacher, monkeypatch):
    monkeypatch.setattr(row_embedding, "KNOWN_TEXTS", 3)
    counting = CountingTeacher(teacher)
    embedder = row_embedding.RowEmbedder(counting, batch_size=2)
    for text in "abcdea":
        dataset = Dataset.from_list([image_row(text, [], [("lamp", "name"), (text, "name")])], triplet_features())
        embedder.embed(dataset.data.table, dataset.features)
    assert counting.texts == ["lamp", "a", "b", "c", "d", "e", "a"]


def test_no_more_than_a_few_rows_are_in_memory(teacher, tmp_path, monkeypatch):
    rows = [image_row(f"shape-{number}", [], [("a chair", "name")]) for number in range(300)]
    folder = write_files(tmp_path / "furniture", [rows])  # in one row group
    sizes = []
    original = row_embedding.RowEmbedder.embed

    def watched(self, table, features):
        sizes.append(len(table))
        return original(self, table, features)

    monkeypatch.setattr(row_embedding.RowEmbedder, "embed", watched)
    embed(folder, tmp_path / "out", teacher)
    assert sum(sizes) == 300 and max(sizes) <= 128
    file = pq.ParquetFile(next((tmp_path / "out" / "data").iterdir()))
    assert max(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)) <= 128


@pytest.mark.parametrize(("bytes_at_once", "expected"), [(2**30, [128, 72]), (1000, [50, 1, 127, 2, 20])])
def test_large_rows_are_read_by_the_row_groups_that_they_are_in(tmp_path, monkeypatch, bytes_at_once, expected):
    """pyarrow reads 2 GiB of a column of structs only so; small ones fill the batches."""
    monkeypatch.setattr(teacher_embedding, "BYTES_AT_ONCE", bytes_at_once)
    table = pa.table({"id": range(200), "mesh": [{"bytes": b"mesh" * 8, "path": str(row)} for row in range(200)]})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        for start, stop in ((0, 50), (50, 51), (51, 178), (178, 180), (180, 200)):
            writer.write_table(table.slice(start, stop - start))
    batches = list(teacher_embedding._read(tmp_path / "a.parquet", 128))
    assert [len(batch) for batch in batches] == expected
    assert pa.concat_tables(batches).equals(table)


def test_a_row_group_that_pyarrow_cannot_read_is_named(furniture, teacher, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")
        yield

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", refused)
    with pytest.raises(UserError, match=f"cannot read .*{NAMES[0]}: Nested data.*prepare it again"):
        embed(furniture, tmp_path / "out", teacher)


@pytest.mark.parametrize("batch_size", [3, 64])
def test_prompts_are_averaged_except_for_retrieved_texts(teacher, tmp_path, batch_size):
    texts = [("a chair", "name"), ("lamp", "caption_blip"), ("a chair", "retrieval")]
    folder = write_files(tmp_path / "furniture", [[image_row("chair", [], texts)]])
    templates = ("a {}.", "{}", "the {}, big")
    report = embed(folder, tmp_path / "out", teacher, text_templates=templates, batch_size=batch_size)
    assert report["settings"]["text_templates"] == list(templates)
    model, tokenizer = teacher.model, teacher.processor.tokenizer
    expected = []
    for prompts in (["a a chair.", "a chair", "the a chair, big"], ["a lamp.", "lamp", "the lamp, big"], ["a chair"]):
        rows = []
        for prompt in prompts:
            inputs = tokenizer(prompt, truncation=True, max_length=16, return_tensors="pt")
            with torch.no_grad():
                rows.append(model.get_text_features(**inputs).pooler_output[0].numpy())
        mean = np.mean([row / np.linalg.norm(row) for row in rows], axis=0)
        expected.append(mean / np.linalg.norm(mean))
    np.testing.assert_allclose(read(tmp_path / "out")[0]["text_embeds"], expected, atol=1e-3)


def test_the_64_templates_are_openshapes():
    """Spot checks, and what all of them must be."""
    assert len(set(OPENSHAPE_TEMPLATES)) == len(OPENSHAPE_TEMPLATES) == 64
    assert all(template.count("{}") == 1 for template in OPENSHAPE_TEMPLATES)
    known = {"a point cloud model of {}.", "itap of my {}.", "a photo of the hard to see {}.", "the embroidered {}."}
    assert known < set(OPENSHAPE_TEMPLATES)


def encoded(image, format, **options):
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def test_images_that_cannot_be_read_are_left_out_and_named(teacher, tmp_path):
    rows = [
        image_row("good", [png(0)], [("a chair", "name")]),
        image_row("mixed", [png(1), png(2)[:-40], png(3), huge_png(), b"text", None, png(4)], [("a lamp", "name")]),
        image_row("hopeless", [b""], [("a bed", "name")]),
        image_row("bare", [], [("a mug", "name"), (None, "caption")]),
    ]
    folder = write_files(tmp_path / "furniture", [rows])
    report = embed(folder, tmp_path / "out", teacher, batch_size=2)
    assert [item["id"] for item in report["left_out"]] == ["mixed"] * 4 + ["hopeless", "bare"]
    reasons = [item["why"] for item in report["left_out"]]
    assert reasons[0].startswith("images[1]: ") and "truncated" in reasons[0]
    assert reasons[1].startswith("images[3]: DecompressionBombError")
    assert reasons[2].startswith("images[4]: UnidentifiedImageError")
    assert reasons[3] == "images[5]: null" and reasons[5] == "texts[1]: null"
    embedded = load_dataset(str(tmp_path / "out"), split="train")
    assert [len(row["images"]) for row in embedded] == [1, 3, 0, 0]
    for row, arrays in zip(embedded, embedded.with_format("numpy"), strict=True):
        assert arrays["image_embeds"].shape == (len(row["images"]), CLIP_WIDTH)
        assert arrays["text_embeds"].shape == (len(row["texts"]), CLIP_WIDTH) and len(row["texts"]) == 1
        np.testing.assert_allclose(arrays["image_embeds"], teacher.embed_images(row["images"]), atol=1e-3)


def test_modes_and_orientations_embed_as_training_would_see_them(teacher, tmp_path):
    noise = Image.open(io.BytesIO(png(0)))
    deep = Image.fromarray(np.asarray(noise.convert("L")).astype(np.uint16) * 257)
    palette = noise.quantize(8)
    turned = Image.Exif()
    turned[0x0112] = 6
    contents = [
        encoded(noise.convert("CMYK"), "JPEG"),
        encoded(deep, "PNG"),
        encoded(palette, "PNG", transparency=b"\x00" * 4 + b"\xff" * 4),
        encoded(noise.convert("LA"), "PNG"),
        encoded(noise, "JPEG", exif=turned),
        encoded(noise, "GIF"),
        encoded(noise, "WEBP"),
    ]
    folder = write_files(tmp_path / "furniture", [[image_row("all", contents, [("a chair", "name")])]])
    assert embed(folder, tmp_path / "out", teacher)["left_out"] == []
    row = load_dataset(str(folder), split="train")[0]
    assert row["images"][4].size == (12, 9)
    np.testing.assert_allclose(
        read(tmp_path / "out")[0]["image_embeds"], teacher.embed_images(row["images"]), atol=1e-3
    )
    grey = teacher.embed_images([noise.convert("L")])
    np.testing.assert_allclose(read(tmp_path / "out")[0]["image_embeds"][1], grey[0], atol=1e-3)


def test_what_is_left_out_of_a_file_is_told_once_and_in_its_own(teacher, tmp_path):
    """Of two files of one run."""
    files = [[image_row(name, [png(0), b"no picture"], [("a chair", "name")])] for name in ("first", "second")]
    report = embed(write_files(tmp_path / "data", files), tmp_path / "out", teacher)
    assert [item["id"] for item in report["left_out"]] == ["first", "second"]
    footers = [read_record(file) for file in sorted((tmp_path / "out" / "data").glob("*.parquet"))]
    assert [[item["id"] for item in footer["left_out"]] for footer in footers] == [["first"], ["second"]]


def test_embeddings_that_are_not_finite_are_left_out(teacher, tmp_path):
    class Overflowing(Teacher):
        def embed_images(self, images):
            return super().embed_images(images) / torch.tensor([[i % 2] for i in range(len(images))])

    folder = write_files(tmp_path / "furniture", [[image_row("two", [png(0), png(1)], [("a chair", "name")])]])
    overflowing = Teacher.from_pretrained(save_tiny_clip(tmp_path / "clip"))
    overflowing.__class__ = Overflowing
    report = embed(folder, tmp_path / "out", overflowing)
    assert report["left_out"] == [{"id": "two", "why": "images[0]: its embedding is not finite"}]
    assert read(tmp_path / "out")[0]["image_embeds"].shape == (1, CLIP_WIDTH)


def test_a_killed_run_leaves_whole_files_and_the_next_makes_the_rest(furniture, teacher_folder, teacher, tmp_path):
    out, gate = tmp_path / "out", tmp_path / "gate"
    process = start(furniture, out, teacher_folder, gate)
    end = time.monotonic() + 120
    while not (tmp_path / "waiting").exists():
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = data_files(out)
    assert [name for name in left if name.endswith(".parquet")] == NAMES[:1]
    assert len(left) == 2 and not (out / "report.json").exists()
    with pytest.raises(UserError, match=r"2 of its 3 files are missing.*mrd-hf embed-teacher"):
        teacher_embedding.check_whole(out)

    counting = CountingTeacher(teacher)
    report = embed(furniture, out, counting)
    assert len(counting.images) == (NUM_FILES - 1) * ROWS_PER_FILE
    assert report["missing"] == [] and (out / "report.json").exists()
    assert sorted(data_files(out)) == NAMES and data_files(out)[NAMES[0]] == left[NAMES[0]]
    embed(furniture, tmp_path / "whole", teacher)
    for column in ("image_embeds", "text_embeds"):
        for row, expected in zip(read(out), read(tmp_path / "whole"), strict=True):
            np.testing.assert_array_equal(row[column], expected[column])


def test_finished_work_is_not_done_again(furniture, teacher, tmp_path):
    embed(furniture, tmp_path / "out", teacher)
    counting, before = CountingTeacher(teacher), data_files(tmp_path / "out")
    embed(furniture, tmp_path / "out", counting)
    assert counting.images == counting.texts == [] and data_files(tmp_path / "out") == before
    embed(furniture, tmp_path / "out", counting, overwrite=True)
    assert len(counting.images) == NUM_FILES * ROWS_PER_FILE
    assert all(data_files(tmp_path / "out")[name] != before[name] for name in NAMES)


def test_class_texts_are_made_once_and_again_for_other_prompts(teacher, tmp_path):
    folder, out = write_numbered(tmp_path / "furniture"), tmp_path / "out"
    pq.write_table(pa.table({"label": ["mug", "bed"]}), folder / "class_texts.parquet")
    embed_dataset_folder(folder, out, teacher, ["{}", "a {}"])
    counting = CountingTeacher(teacher)
    embed_dataset_folder(folder, out, counting, ["{}", "a {}"])
    assert counting.texts == []
    embed_dataset_folder(folder, out, counting, ["the {}"])
    assert counting.texts == ["the mug", "the bed"]


def test_files_of_another_teacher_or_setting_or_dataset_are_refused(furniture, teacher, tmp_path):
    out = tmp_path / "out"
    embed(furniture, out, teacher, num_shards=NUM_FILES)
    other = Teacher.from_pretrained(save_tiny_clip(tmp_path / "other-clip", seed=1))
    with pytest.raises(UserError, match=r"another teacher \(tiny-clip@\S+ there, other-clip@\S+ here\).*--overwrite"):
        embed(furniture, out, other)
    with pytest.raises(UserError, match=r"another text_templates \(\['{}'\] there, \['a {}'\] here\)"):
        embed(furniture, out, teacher, text_templates=["a {}"])
    half = Teacher.from_pretrained(tmp_path / "other-clip", dtype=torch.bfloat16)
    half.name, half.revision = teacher.name, teacher.revision
    with pytest.raises(UserError, match=r"another dtype \(float32 there, bfloat16 here\)"):
        embed(furniture, out, half)
    rows = [[image_row(f"shape-{name}", [png(9)], [("a", "name")])] for name in NAMES]
    with pytest.raises(UserError, match=f"made from another {NAMES[0]}"):
        embed(write_files(tmp_path / "changed", rows), out, teacher)
    with pytest.raises(UserError, match=f"{NAMES[0]} is none that this would make"):
        embed(write_files(tmp_path / "fewer", rows[:2]), out, teacher)

    embed(write_files(tmp_path / "fewer", rows[:2]), out, other, overwrite=True)
    assert len(data_files(out)) == 2 and set(read(out)["teacher"]) == {other.identifier}


def test_that_texts_were_made_lower_case_is_recorded(furniture, teacher, tmp_path):
    """What was embedded before they were is not mixed with what is."""
    other = Teacher.from_pretrained(save_tiny_fixed_siglip2(tmp_path / "siglip2"))
    assert embed(furniture, tmp_path / "lower", other)["settings"]["lower_case"] is True
    assert "lower_case" not in embed(furniture, tmp_path / "out", teacher)["settings"]
    other.text_tower.lower_case = False
    with pytest.raises(UserError, match="embedded with another lower_case .True there, None here."):
        embed(furniture, tmp_path / "lower", other)


def test_shards_make_files_of_their_own(furniture, teacher, tmp_path):
    out = tmp_path / "out"
    missing = [embed(furniture, out, teacher, num_shards=2, shard_index=shard)["missing"] for shard in (1, 0)]
    assert missing == [[NAMES[0], NAMES[2]], []]
    assert (out / "report.json").exists() and len(read(out)) == NUM_FILES * ROWS_PER_FILE
    with pytest.raises(UserError, match="from 0 to 1"):
        embed(furniture, out, teacher, num_shards=2, shard_index=2)


def test_two_processes_share_the_files(furniture, teacher_folder, tmp_path):
    """As the README has it, on CPUs."""
    arguments = [furniture, "--teacher", teacher_folder, "--out", tmp_path / "out", "--dtype", "bfloat16"]
    printed = run_as_launched("ddp.yaml --num_processes 2", [SCRIPTS / "embed_teacher.py", *arguments], env={})
    counts = sorted(line.split()[2] for line in "".join(printed).splitlines() if "this run:" in line)
    assert counts == [str(ROWS_PER_FILE), str(2 * ROWS_PER_FILE)]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["settings"]["dtype"] == "bfloat16"
    assert len(read(tmp_path / "out")) == NUM_FILES * ROWS_PER_FILE


def test_the_script_says_how_fast_and_what_was_left_out(teacher_folder, tmp_path, monkeypatch, capsys):
    rows = [[image_row("good", [png(0), b"text"], [("a chair", "name"), ("a lamp", "retrieval")])], []]
    folder = write_files(tmp_path / "furniture", rows)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    arguments = [folder, "--teacher", teacher_folder, "--templates", "openshape64", "--num_shards", "2"]
    for shard in ("0", "1"):
        monkeypatch.setattr(sys, "argv", ["embed_teacher.py", *map(str, arguments), "--shard_index", shard])
        runpy.run_path(str(SCRIPTS / "embed_teacher.py"), run_name="__main__")
    first, second = capsys.readouterr().out.split(f"{folder}-tiny-clip: ")[1:]
    assert first.startswith("train 1; embeddings of width 24 by tiny-clip")
    assert "1 images (" in first and "65 texts (" in first and first.count("a second") == 2
    assert "left out: good: images[1]: UnidentifiedImageError" in first
    assert "unfinished: files that other runs have to make: 1, the first train-00001-of-00002.parquet" in first
    assert "0 images (0.0 a second)" in second and "unfinished" not in second
    settings = json.loads((tmp_path / "furniture-tiny-clip" / "report.json").read_text())["settings"]
    assert settings["text_templates"] == list(OPENSHAPE_TEMPLATES)


def test_a_damaged_file_is_named(furniture, teacher, tmp_path):
    folder = write_numbered(tmp_path / "furniture")
    content = (folder / "data" / NAMES[1]).read_bytes()
    # First where the version of the schema is, which is looked at beforehand; then where the images are.
    (folder / "data" / NAMES[1]).write_bytes(content[:4] + b"\xff" * 20 + content[24:])
    with pytest.raises(UserError, match=f"cannot read .*{NAMES[1]}"):
        embed(folder, tmp_path / "out", teacher)
    assert not (tmp_path / "out").exists()
    place = content.index(b"PNG")
    (folder / "data" / NAMES[1]).write_bytes(content[: place - 200] + b"\xff" * 200 + content[place:])
    with pytest.raises(UserError, match=f"cannot read .*{NAMES[1]}"):
        embed(folder, tmp_path / "out", teacher)
    assert list(data_files(tmp_path / "out")) == NAMES[:1]
    (folder / "data" / NAMES[2]).write_bytes(b"text")
    with pytest.raises(UserError, match=f"cannot read .*{NAMES[2]}"):
        embed(folder, tmp_path / "out", teacher)
