import gzip
import io
import json
import os
import pickle
import runpy
import sys
import tarfile
import time
import tracemalloc

import numpy as np
import pytest
from datasets import load_dataset
from support.paths import SCRIPTS
from tiny_openshape import (
    NUM_POINTS,
    PUBLISHED,
    archive_of,
    embeds,
    feat,
    item,
    meta_data,
    npy,
    shape,
    write_archive,
    write_archives,
    write_download,
    write_folders,
    write_meta_data,
)

import mrd_hf.data.preparation.dataset_parts
from mrd_hf.data.loaders.triplet_dataset import TripletDataset
from mrd_hf.data.sources.openshape import openshape_features, prepare_openshape
from mrd_hf.data.sources.openshape_files import ArchiveReader
from mrd_hf.errors import UserError
from mrd_hf.files.tar_stream import BrokenArchive, TarStream


CHAIR, MUG = "Objaverse/000-000/c0", "Objaverse/000-000/m1"
LAMP = "Objaverse/000-001/l2"
DESK, SOFA, BENCH = "ShapeNet/02691156/d3", "3D-FUTURE/train/s4", "ABO/abo/b5"
KEYS = [CHAIR, MUG, LAMP, DESK, SOFA, BENCH]


def shapes(keys=KEYS):
    return {key: shape(key, seed=100 * number) for number, key in enumerate(keys)}


def prepare(folder, out, split="train_all", **options):
    report = prepare_openshape(folder, out, split, **{"num_points": NUM_POINTS, **options})
    assert report["shapes"] == report["prepared"] + len(report["skipped"])
    return report, load_dataset(str(out), split="train")


def rows(data):
    return {row["id"]: row for row in data}


def unit(vectors):
    vectors = np.asarray(vectors, dtype=np.float64).reshape(-1, 1280)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reasons(report, kind="skipped"):
    return {item["id"]: item["why"] for item in report[kind]}


def test_rows_follow_the_schema(tmp_path):
    written = shapes()
    folder = write_download(tmp_path / "in", written, rejected=["m1"], categories={MUG: "mug"})
    report, data = prepare(folder, tmp_path / "out")
    assert data.features == openshape_features()
    found = rows(data)
    assert sorted(found) == sorted(KEYS) and not report["skipped"] and not report["warnings"]
    for key, row in found.items():
        file = written[key]
        points = np.array(row["points"], dtype=np.float64)
        expected = file["xyz"] - file["xyz"].mean(axis=0, dtype=np.float64)
        expected /= np.linalg.norm(expected, axis=1).max()
        assert np.abs(points - expected).max() < 1e-3  # the axes as they are, in the order of the file
        assert np.abs(np.array(row["colors"]) - 255 * file["rgb"].astype(np.float64)).max() <= 0.501
        assert row["images"] == [] and row["license"] is None and row["creator"] is None
        assert row["teacher"] == "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"
        assert row["name"] == "a chair" and row["category"] == ("mug" if key == MUG else None)
        pictures = file["image_feat"]
        if key.startswith("Objaverse/"):
            pictures = np.concatenate([file["thumbnail_feat"][None], pictures])
        assert np.abs(np.array(row["image_embeds"]) - unit(pictures)).max() < 1e-3
    sources = {key: found[key]["source"] for key in KEYS}
    assert [sources[key] for key in (LAMP, DESK, SOFA, BENCH)] == ["objaverse", "shapenet", "3d-future", "abo"]


def test_texts_come_with_their_embeddings(tmp_path):
    written = shapes([CHAIR, MUG, DESK])
    report, data = prepare(write_download(tmp_path / "in", written, rejected=["m1"]), tmp_path / "out")
    found = rows(data)
    captions = [("a wooden chair", "caption_blip"), ("a chair with four legs", "caption_azure")]
    retrieved = [("chair for sale", "retrieval"), ("old chair", "retrieval")]
    texts = {key: [(text["text"], text["source"]) for text in row["texts"]] for key, row in found.items()}
    # Of Objaverse the name alone, unless GPT-4 rejected it; of the others whatever their metadata says.
    assert texts[CHAIR] == [("a chair", "name"), *captions, *retrieved]
    assert texts[MUG] == [*captions, *retrieved]
    assert texts[DESK] == [("a chair", "name"), ("furniture", "name"), *captions, *retrieved]
    file = written[DESK]
    expected = [f["prompt_avg"] for f in (*file["text_feat"], file["blip_caption_feat"], file["msft_caption_feat"])]
    expected += [f["original"] for f in file["retrieval_text_feat"]]
    assert np.abs(np.array(found[DESK]["text_embeds"]) - unit(expected)).max() < 1e-3


def test_training_reads_what_was_prepared(tmp_path):
    _, data = prepare(write_download(tmp_path / "in", shapes()), tmp_path / "out")
    batch = TripletDataset(data, seed=0, cached=True, name="x")[[(0, 0), (5, 0)]]
    assert batch["image_embeds"].shape == batch["text_embeds"].shape == (2, 1280)
    assert batch["points"].shape == (2, NUM_POINTS, 3)


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_archives(folder, shapes(), tar_format=tarfile.PAX_FORMAT),
        lambda folder: write_archives(folder, shapes(), tar_format=tarfile.USTAR_FORMAT, prefix="./"),
        lambda folder: write_archives(folder, shapes(), prefix=""),
        lambda folder: write_folders(folder, shapes()),
        lambda folder: write_folders(folder / "data/objaverse-processed/merged_for_training_final", shapes()),
        lambda folder: (
            write_folders(folder, shapes(KEYS[:3])),
            write_archives(folder, dict(list(shapes().items())[3:])),
        ),
    ],
    ids=["pax", "dot", "bare", "folders", "nested folders", "mixed"],
)
def test_archives_and_unpacked_folders_give_the_same(write, tmp_path):
    _, expected = prepare(write_download(tmp_path / "in", shapes()), tmp_path / "out")
    write(tmp_path / "other")
    write_meta_data(tmp_path / "other", meta_data(KEYS), zipped=False)
    report, found = prepare(tmp_path / "other", tmp_path / "other_out")
    assert not report["skipped"] and rows(found) == rows(expected)


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_ids_as_long_as_the_published_ones(tmp_path, tar_format):
    """With 32 digits, names are longer than a tar header has room for; one after them has a short name again."""
    keys = [f"Objaverse/000-001/{number:032x}" for number in (10**37, 2 * 10**37)] + ["Objaverse/000-001/short"]
    of_keys = {key: shape(key, seed) for seed, key in enumerate(keys)}
    write_archives(tmp_path / "in", of_keys, tar_format=tar_format)
    with tarfile.open(tmp_path / "in" / archive_of(keys[0])) as archive:
        assert [name.split("final/")[1] for name in archive.getnames()] == [f"{key}.npy" for key in keys]
        assert max(map(len, archive.getnames())) > 100
    write_meta_data(tmp_path / "in", meta_data(keys))
    report, data = prepare(tmp_path / "in", tmp_path / "out")
    assert data["id"][:] == sorted(keys) and report["skipped"] == report["missing"] == []


def test_only_the_shapes_of_the_split_are_taken(tmp_path):
    folder = tmp_path / "in"
    write_archives(folder, shapes())
    files = {**meta_data(KEYS), **meta_data([CHAIR, BENCH], split="train_no_lvis")}
    write_meta_data(folder, {**files, **meta_data([DESK], split="ablation/train_shapenet_only")})
    for split, expected in [("train_no_lvis", [CHAIR, BENCH]), ("train_shapenet_only", [DESK])]:
        report, data = prepare(folder, tmp_path / split, split)
        assert sorted(data["id"]) == sorted(expected) and report["settings"]["split"] == split
    with pytest.raises(UserError, match="no split 'test'.*train_all, train_no_lvis, train_shapenet_only"):
        prepare(folder, tmp_path / "out", "test")


def test_the_result_does_not_depend_on_workers_shards_or_a_killed_run(tmp_path, monkeypatch):
    monkeypatch.setattr(mrd_hf.data.preparation.dataset_parts, "ROWS_PER_FILE", 3)
    keys = [f"Objaverse/000-{number % 2:03d}/s{number}" for number in range(10)]
    folder = write_download(tmp_path / "in", shapes(keys))
    whole, data = prepare(folder, tmp_path / "one")
    assert data.num_rows == 10
    prepare(folder, tmp_path / "two", num_workers=2)
    for index in (1, 0):
        prepare_openshape(folder, tmp_path / "shards", num_points=NUM_POINTS, num_shards=2, shard_index=index)
    prepare(folder, tmp_path / "again")
    (tmp_path / "again" / "data" / "train-00001-of-00004.parquet").unlink()
    prepare(folder, tmp_path / "again")
    expected = {file.name: file.read_bytes() for file in (tmp_path / "one" / "data").iterdir()}
    for out in ("two", "shards", "again"):
        assert {file.name: file.read_bytes() for file in (tmp_path / out / "data").iterdir()} == expected
        assert json.loads((tmp_path / out / "report.json").read_text())["prepared"] == whole["prepared"]


def test_other_verdicts_on_the_names_are_not_gone_on_with(tmp_path):
    folder = write_download(tmp_path / "in", shapes([CHAIR]))
    prepare(folder, tmp_path / "out")
    write_meta_data(folder, meta_data([CHAIR], rejected=["c0"]))
    with pytest.raises(UserError, match="made with other settings.*--overwrite"):
        prepare(folder, tmp_path / "out")
    _, data = prepare(folder, tmp_path / "out", overwrite=True)
    assert data[0]["texts"][0]["source"] == "caption_blip"


BAD_EMBEDS = np.full((12, 1280), np.nan, dtype=np.float32)
SKIPPED = {
    "xyz_missing": ({"xyz": ...}, "xyz: is missing"),
    "xyz_list": ({"xyz": [[0, 0, 0]]}, "xyz: is a list; expected an array"),
    "xyz_shape": ({"xyz": np.zeros((64, 4), np.float32)}, "xyz: has shape (64, 4); expected (n, 3)"),
    "xyz_whole": ({"xyz": np.zeros((64, 3), np.int32)}, "xyz: is of int32"),
    "xyz_nan": ({"xyz": np.full((64, 3), np.nan)}, "xyz: has numbers that are not finite"),
    "xyz_same": ({"xyz": np.ones((64, 3))}, "xyz: all points coincide"),
    "xyz_huge": ({"xyz": np.ones((64, 3)) * np.linspace(0, 1e300, 64)[:, None]}, "xyz: is too large"),
    "xyz_few": (
        {"xyz": np.random.rand(32, 3), "rgb": np.random.rand(32, 3)},
        "xyz: has 32 points; --num-points is 64",
    ),
    "rgb_missing": ({"rgb": ...}, "rgb: is missing"),
    "rgb_fewer": ({"rgb": np.zeros((63, 3), np.float32)}, "rgb: has 63 rows, xyz 64"),
    "rgb_bytes": ({"rgb": np.full((64, 3), 255.0)}, "rgb: reaches from 255 to 255; expected 0 to 1"),
    "rgb_inf": ({"rgb": np.full((64, 3), np.inf)}, "rgb: has numbers that are not finite"),
    "no_picture": ({"image_feat": ..., "thumbnail_feat": ...}, "no image embedding that can be used"),
    "bad_pictures": ({"image_feat": BAD_EMBEDS, "thumbnail_feat": np.zeros(1280)}, "image_feat: has numbers that"),
    "no_text": (
        {"text": [], "text_feat": [], "blip_caption": "", "msft_caption": " ", "retrieval_text": []},
        "no text with an embedding",
    ),
    "no_dict": (None, "holds a NoneType; expected a dictionary"),
    "array": (np.zeros(3), "holds a ndarray; expected a dictionary"),
    "no_npy": (b"<html>not found</html>", "is not a .npy file"),
    "cut": (npy(shape("ABO/abo/x"))[:5000], "is damaged"),
    "evil": (
        npy({"xyz": np.array(1), "x": type("E", (), {"__reduce__": lambda self: (os.system, ("true",))})()}),
        "posix.system",
    ),
}


def test_each_kind_of_broken_shape_is_named_and_nothing_else_is_lost(tmp_path):
    written = shapes([CHAIR, MUG])
    for name, (change, _) in SKIPPED.items():
        key = f"Objaverse/000-000/{name}"
        written[key] = shape(key, **change) if isinstance(change, dict) else change
    written[LAMP] = shape(LAMP)
    report, data = prepare(write_download(tmp_path / "in", written), tmp_path / "out")
    assert sorted(data["id"]) == sorted([CHAIR, MUG, LAMP])
    found = reasons(report)
    assert len(found) == len(SKIPPED) == len(report["skipped"])
    for name, (_, reason) in SKIPPED.items():
        why = found[f"Objaverse/000-000/{name}"]
        assert reason in why and f"Objaverse/000-000.tar.gz:Objaverse/000-000/{name}.npy" in why


WARNED = {
    "thumbnail": ({"thumbnail_feat": ...}, "thumbnail_feat: is missing", 12, 5),
    "renders": ({"image_feat": np.zeros((12, 1280))}, "image_feat: has rows of zeros", 1, 5),
    "width": ({"image_feat": np.ones((12, 768))}, "image_feat: has shape (12, 768); expected (n, 1280)", 1, 5),
    "name_feat": ({"text_feat": []}, "text: has 1 to use, text_feat 0", 13, 4),
    "name_kind": ({"text": "a chair"}, "text: is a str; expected a list", 13, 4),
    "name_item": ({"text": [7]}, "text: is a int; expected text", 13, 4),
    "surrogate": ({"text": ["\ud83d"]}, "text: is no Unicode text", 13, 4),
    "caption_feat": (
        {"blip_caption_feat": embeds(1, 1)},
        "blip_caption_feat: is a ndarray; expected a dictionary",
        13,
        4,
    ),
    "caption_rows": ({"msft_caption_feat": {"prompt_avg": embeds(1, 2)}}, "msft_caption_feat: has 2 rows", 13, 4),
    "caption_none": ({"msft_caption_feat": {}}, "msft_caption_feat: has no 'prompt_avg' and no 'original'", 13, 4),
    "retrieval": (
        {"retrieval_text_feat": [feat(1), {"original": np.full(1280, np.inf)}]},
        "retrieval_text_feat: has",
        13,
        4,
    ),
    "retrieval_many": ({"retrieval_text": ["a"] * 10_001}, "retrieval_text: has 10001; at most 10000 are read", 13, 3),
    "retrieval_len": ({"retrieval_text": ["a"]}, "retrieval_text: has 1 to use, retrieval_text_feat 2", 13, 4),
}


def test_what_is_left_out_of_a_shape_is_a_warning(tmp_path):
    written = {
        f"Objaverse/000-000/{name}": shape(f"Objaverse/000-000/{name}", **change)
        for name, (change, *_) in WARNED.items()
    }
    report, data = prepare(write_download(tmp_path / "in", written), tmp_path / "out")
    assert not report["skipped"] and len(report["warnings"]) == len(WARNED)
    found = rows(data)
    for name, (_, reason, num_images, num_texts) in WARNED.items():
        key = f"Objaverse/000-000/{name}"
        assert reason in reasons(report, "warnings")[key]
        row = found[key]
        assert (len(row["image_embeds"]), len(row["text_embeds"]), len(row["texts"])) == (
            num_images,
            num_texts,
            num_texts,
        )


def test_captions_without_a_prompt_average_take_the_original(tmp_path):
    caption = {"original": embeds(7, 1)}
    folder = write_download(
        tmp_path / "in", {CHAIR: shape(CHAIR, blip_caption_feat=caption, thumbnail_feat=embeds(2, 1))}
    )
    _, data = prepare(folder, tmp_path / "out")
    assert np.abs(np.array(data[0]["text_embeds"][1]) - unit(caption["original"])[0]).max() < 1e-3
    assert len(data[0]["image_embeds"]) == 13


def test_more_points_than_wanted_are_drawn_with_the_seed(tmp_path):
    written = {CHAIR: shape(CHAIR)}
    folder = write_download(tmp_path / "in", written)
    datasets = [prepare(folder, tmp_path / f"out{seed}", num_points=16, seed=seed)[1] for seed in (0, 1)]
    drawn = [np.array(data[0]["points"]) for data in datasets]
    assert drawn[0].shape == (16, 3) and not np.array_equal(*drawn)
    # Colours go with their points.
    xyz, rgb = written[CHAIR]["xyz"].astype(np.float64), np.round(255 * written[CHAIR]["rgb"])
    places = [int(np.abs(rgb - color).sum(axis=1).argmin()) for color in np.array(datasets[0][0]["colors"])]
    assert len(set(places)) == 16
    chosen = xyz[places] - xyz[places].mean(axis=0)
    assert np.abs(chosen / np.linalg.norm(chosen, axis=1).max() - drawn[0]).max() < 2e-3


def test_what_the_archives_lack_is_listed(tmp_path):
    folder = tmp_path / "in"
    write_archives(folder, shapes([CHAIR, DESK, SOFA]))
    write_folders(folder, shapes([BENCH]))
    other = "ABO/abo/gone"
    write_meta_data(
        folder, meta_data([*KEYS, other]) | {"split/train_all.json": [item(k) for k in [*KEYS, CHAIR, other]]}
    )
    report, data = prepare(folder, tmp_path / "out")
    assert sorted(data["id"]) == sorted([CHAIR, DESK, SOFA, BENCH]) and report["shapes"] == 8
    found = reasons(report)
    assert "Objaverse/000-000.tar.gz: has no file of this shape" in found[MUG]
    assert "neither Objaverse/000-001.tar.gz nor Objaverse.tar.gz nor a folder Objaverse/000-001" in found[LAMP]
    assert "no such file" in found[other]
    assert "listed more than once" in found[CHAIR]


def test_nothing_downloaded_is_said_at_once(tmp_path):
    write_meta_data(tmp_path / "in", meta_data(KEYS))
    with pytest.raises(UserError, match="none of the split.s archives.*Objaverse/000-000.tar.gz"):
        prepare(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UserError, match="no such folder"):
        prepare(tmp_path / "gone", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"neither meta_data nor meta_data\.zip"):
        prepare(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("split/train_all.json", "[{", r"split/train_all\.json: is not JSON"),
        ("split/train_all.json", "[" * 100_000, r"split/train_all\.json: is not JSON"),
        ("split/train_all.json", "{}", "expected a list of id"),
        ("split/train_all.json", "[]", "lists no shape"),
        ("split/train_all.json", '[{"id": "a"}]', r"entry 0: .*'data_path'"),
        ("split/train_all.json", '[{"id": 1, "data_path": "a/b/c.npy"}]', "entry 0: .*'id'"),
        ("split/train_all.json", json.dumps([{**item(CHAIR), "data_path": "/x/../../a.npy"}]), "entry 0: 'data_path'"),
        (
            "split/train_all.json",
            json.dumps([{**item(CHAIR), "data_path": "/x/y/\ud83d.npy"}]),
            "entry 0: 'data_path'",
        ),
        ("split/train_all.json", json.dumps([{**item(CHAIR), "data_path": "y/a.npy"}]), "entry 0: 'data_path'"),
        ("split/train_all.json", json.dumps([{**item(CHAIR), "data_path": "a/b/c.glb"}]), "entry 0: 'data_path'"),
        ("gpt4_filtering.json", "[]", r"gpt4_filtering\.json: expected"),
        ("gpt4_filtering.json", '{"c0": "N"}', r"gpt4_filtering\.json: .*'c0'.*'flag'"),
        ("gpt4_filtering.json", None, r"no gpt4_filtering\.json"),
        ("split/lvis.json", '[{"uid": "c0"}]', r"lvis\.json: entry 0: .*'category'"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "folder"])
def test_broken_meta_data_is_one_error(name, content, reason, zipped, tmp_path):
    write_archives(tmp_path, shapes([CHAIR]))
    files = {**meta_data([CHAIR]), name: content}
    write_meta_data(tmp_path, {name: text for name, text in files.items() if text is not None}, zipped)
    with pytest.raises(UserError, match=reason):
        prepare(tmp_path, tmp_path / "out")


def test_a_name_that_the_filter_does_not_know_is_kept(tmp_path):
    files = {**meta_data([CHAIR]), "gpt4_filtering.json": {}}
    write_archives(tmp_path / "in", shapes([CHAIR]))
    write_meta_data(tmp_path / "in", files)
    _, data = prepare(tmp_path / "in", tmp_path / "out")
    assert data[0]["texts"][0]["source"] == "name"


def test_a_cut_archive_gives_what_is_whole_in_it(tmp_path):
    keys = [f"Objaverse/000-000/s{number}" for number in range(6)]
    folder = write_download(tmp_path / "in", shapes([*keys, DESK]))
    archive = folder / "Objaverse/000-000.tar.gz"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    report, data = prepare(folder, tmp_path / "out")
    assert data.num_rows == 7 - len(report["skipped"]) and 2 <= len(report["skipped"]) <= 4
    for why in reasons(report).values():
        assert "000-000.tar.gz: breaks off" in why or "npy: breaks off" in why
        assert "download it again" in why


def test_an_archive_that_was_completed_since_is_refused_where_a_run_resumes(tmp_path, monkeypatch):
    """What its numbers mean has changed, so that shapes would be lost and others be there twice."""
    monkeypatch.setattr(mrd_hf.data.preparation.dataset_parts, "ROWS_PER_FILE", 2)
    keys = [f"Objaverse/000-000/s{number}" for number in range(6)]
    folder, out = write_download(tmp_path / "in", shapes(keys)), tmp_path / "out"
    archive = folder / "Objaverse/000-000.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    assert prepare(folder, out)[0]["skipped"]
    (out / "data/train-00000-of-00003.parquet").unlink()  # as if the run had been killed
    archive.write_bytes(whole)
    with pytest.raises(UserError, match=r"made with other settings \(archives .*--overwrite"):
        prepare(folder, out)
    report, data = prepare(folder, out, overwrite=True)
    assert not report["skipped"] and sorted(data["id"]) == sorted(keys)


@pytest.mark.parametrize("write", [write_archives, write_folders])
def test_what_was_downloaded_again_since_is_named(tmp_path, write):
    folder, out = tmp_path / "in", tmp_path / "out"
    write(folder, shapes([CHAIR, MUG]))
    write_meta_data(folder, meta_data([CHAIR, MUG, "Objaverse/000-000/gone"]))
    assert "outdated" not in prepare(folder, out)[0] and "outdated" not in prepare(folder, out)[0]
    file = folder / ("Objaverse/000-000.tar.gz" if write is write_archives else "Objaverse/000-000/m1.npy")
    os.utime(file, (time.time() + 60,) * 2)
    report, data = prepare(folder, out)
    assert report["outdated"] == {str(out / "data/train-00000-of-00001.parquet"): str(file)} and len(data) == 2


def link(name, kind, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 4096 if kind == tarfile.LNKTYPE else 0  # that of what it leads to; nothing follows it
    return info


def test_hostile_members_reach_nothing_and_hide_nothing(tmp_path):
    written = shapes([CHAIR, MUG])
    secret = tmp_path / "secret.npy"
    secret.write_bytes(npy(shape(LAMP)))
    members = {
        "../../etc/evil.npy": b"x",
        "/absolute/evil.npy": b"x",
        "fifo": link(f"{LAMP}.npy", tarfile.FIFOTYPE),
        "device": link(f"{LAMP}.npy", tarfile.CHRTYPE),
        "symlink": link(f"{LAMP}.npy", tarfile.SYMTYPE, str(secret)),
        "hardlink": link(f"{LAMP}.npy", tarfile.LNKTYPE, f"{CHAIR}.npy"),
        "directory": link("Objaverse", tarfile.DIRTYPE),
        CHAIR: npy(written[MUG]),
        f"{CHAIR}.npy": npy(written[CHAIR]),
        f"x/{CHAIR}.npy": npy(written[MUG]),  # a second of that name
        f"{MUG}.npy": npy(written[MUG]),
    }
    write_archive(tmp_path / "in/Objaverse/000-000.tar.gz", members)
    lamp = f"{PUBLISHED}/Objaverse/000-000/l2.npy"
    files = meta_data([CHAIR, MUG])
    files["split/train_all.json"].append({**item(LAMP), "group": "000-000", "data_path": lamp})
    write_meta_data(tmp_path / "in", files)
    before = sorted(tmp_path.rglob("*"))
    report, data = prepare(tmp_path / "in", tmp_path / "out")
    assert data["id"][:] == [CHAIR, MUG]
    assert np.abs(np.array(data[0]["colors"]) - 255 * written[CHAIR]["rgb"]).max() <= 0.501
    assert "has no file of this shape" in reasons(report)["Objaverse/000-000/l2"]
    assert [path for path in sorted(tmp_path.rglob("*")) if tmp_path / "out" not in (path, *path.parents)] == before


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(records):
    return header("x", len(records), tarfile.XHDTYPE) + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (header("x", 2**45), "breaks off"),
        (header("x", 2**33, tarfile.XHDTYPE), "header of 8589934592 bytes"),
        (header("x", 2**33, tarfile.GNUTYPE_LONGNAME), "header of 8589934592 bytes"),
        (header("x", 0)[:124] + b"\xff" * 12 + header("x", 0)[136:], "damaged"),
        (b"\x01" * 512, "damaged"),
        *((pax(record), "a pax header") for record in (b"x" * 40, b"5000 a=b\n", b"0 a=b\n", b"2 a=b\n")),
        (pax(b"9" * 5000 + b" path=a\n"), "a pax header"),  # more digits than Python takes for a number
        (pax(b"8 a=bcd\n" + b"x" * 40), "a pax header"),
    ],
)
def test_headers_that_lie_end_the_archive_in_little_memory(before, reason, tmp_path):
    content = npy(shape(CHAIR))
    good = header(f"{CHAIR}.npy", len(content)) + content + bytes(-len(content) % 512)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(good + before + b"x" * 5000))
    stream = TarStream(tmp_path / "a.tar.gz")
    assert stream.next() == f"{CHAIR}.npy" and stream.read() == content
    tracemalloc.start()
    with pytest.raises(BrokenArchive, match=reason):
        while stream.next():
            pass
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_bombs_are_bounded(tmp_path, monkeypatch):
    written = {**shapes([CHAIR]), MUG: bytes(40_000_000), LAMP.replace("001", "000"): shape(LAMP)}
    monkeypatch.setattr("mrd_hf.data.sources.openshape_files.MAX_FILE_BYTES", 1_000_000)
    folder = write_download(tmp_path / "in", written)
    tracemalloc.start()
    report, data = prepare(folder, tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()
    assert data.num_rows == 2 and "has 40000000 bytes; expected at most 1000000" in reasons(report)[MUG]
    monkeypatch.setattr("mrd_hf.files.tar_stream.MAX_ARCHIVE_BYTES", 2_000_000)
    report, data = prepare(folder, tmp_path / "bounded")
    assert data["id"][:] == [CHAIR]
    assert "unpacks to more than 2000000 bytes" in reasons(report)["Objaverse/000-000/l2"]


def test_files_of_a_folder_are_bounded_and_regular(tmp_path, monkeypatch):
    monkeypatch.setattr("mrd_hf.data.sources.openshape_files.MAX_FILE_BYTES", 1_000_000)
    write_folders(tmp_path / "in", {**shapes([CHAIR]), MUG: bytes(2_000_000)})
    os.mkfifo(tmp_path / "in/Objaverse/000-000/l2.npy")
    keys = [CHAIR, MUG, "Objaverse/000-000/l2"]
    write_meta_data(tmp_path / "in", meta_data(keys))
    report, data = prepare(tmp_path / "in", tmp_path / "out")
    assert (
        data.num_rows == 1 and "2000000 bytes" in reasons(report)[MUG] and "no such file" in reasons(report)[keys[2]]
    )


def test_an_archive_is_read_once_however_many_shapes_it_has(tmp_path):
    def seconds(count):
        keys = [f"Objaverse/000-000/{number:06d}" for number in range(count)]
        path = tmp_path / f"{count}.tar.gz"
        write_archive(path, {f"{PUBLISHED[1:]}/{key}.npy": npy({"id": key}) for key in reversed(keys)})
        reader = ArchiveReader(path, keys)
        start = time.process_time()
        found = [reader.shape(number) for number in range(count)]
        taken = time.process_time() - start
        assert [shape.key for shape in found] == keys[::-1] and not any(shape.problem for shape in found)
        assert reader.passes == 1
        return taken

    seconds(100)
    few, many = seconds(500), seconds(4000)
    assert many < 8 * few * 3


def test_a_reader_that_is_asked_out_of_order_starts_again(tmp_path):
    keys = [f"Objaverse/000-000/{number}" for number in range(5)]
    write_archive(tmp_path / "a.tar.gz", {f"{key}.npy": npy({"id": key}) for key in keys})
    reader = ArchiveReader(tmp_path / "a.tar.gz", [*keys, "Objaverse/000-000/z"])
    assert [reader.shape(number).key for number in (3, 1, 1, 4, 5, 0)] == [
        *(keys[number] for number in (3, 1, 1, 4)),
        "Objaverse/000-000/z",
        keys[0],
    ]


@pytest.mark.parametrize("name", ["c0.npy", "./c0.npy", "000-000/c0.npy", "mnt/Objaverse/000-000/c0.npy"])
def test_files_that_lie_less_deep_are_found_by_their_archive(name, tmp_path):
    write_archive(tmp_path / "in/Objaverse/000-000.tar.gz", {"README": b"x", name: npy(shape(CHAIR))})
    write_meta_data(tmp_path / "in", meta_data([CHAIR]))
    _, data = prepare(tmp_path / "in", tmp_path / "out")
    assert data["id"][:] == [CHAIR]


def test_numpy_1_files_are_read(tmp_path):
    wrapped = np.empty((), dtype=object)
    wrapped[()] = shape(CHAIR)
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    content = file.getvalue() + pickle.dumps(wrapped, protocol=3).replace(b"numpy._core.", b"numpy.core.")
    _, data = prepare(write_download(tmp_path / "in", {CHAIR: content}), tmp_path / "out")
    assert data.num_rows == 1


def test_the_command(tmp_path, monkeypatch, capsys):
    folder = write_download(tmp_path / "in", shapes([CHAIR, DESK]))
    script = SCRIPTS / "prepare_dataset.py"
    arguments = ["openshape", folder, "--out", tmp_path / "out", "--num_points", NUM_POINTS, "--num_workers", 1]
    # In this process: each start of the script pays for importing torch.
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    runpy.run_path(str(script), run_name="__main__")
    assert "2 shapes prepared, 0 skipped" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments), "--split", "none", "--overwrite"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 2 and "error: " in (error := capsys.readouterr().err) and "'none'" in error
