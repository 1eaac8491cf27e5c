"""The nearest shapes as a brute-force comparison finds them, from a folder that is whole or refused."""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mrd_hf.errors import UserError
from mrd_hf.files.digests import fingerprint
from mrd_hf.search import Hit, ShapeIndex, approximate, shape_index


WIDTH = 24


def clustered(count: int, seed: int = 0, clusters: int = 12) -> np.ndarray:
    """Embeddings of no particular length, in a few clusters, in any order."""
    centers = np.random.default_rng(99).standard_normal((clusters, WIDTH))
    generator = np.random.default_rng(seed)
    near = centers[generator.integers(clusters, size=count)] + 0.4 * generator.standard_normal((count, WIDTH))
    return (near * generator.uniform(0.1, 30, size=(count, 1))).astype(np.float32)


def items(count: int) -> list[dict]:
    return [{"id": f"shape-{row}", "path": f"meshes/{row}.glb"} for row in range(count)]


def brute_force(embeds: np.ndarray, query: np.ndarray, k: int) -> list[tuple[float, int]]:
    query = query.astype(np.float64)
    cosines = []
    for row, embed in enumerate(embeds.astype(np.float64)):
        cosines.append((embed @ query / np.sqrt((embed @ embed) * (query @ query)), row))
    return sorted(cosines, key=lambda hit: (-hit[0], hit[1]))[:k]


@pytest.fixture
def small_limit(monkeypatch):
    """Collections of over a hundred count as large."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(shape_index, "EXACT_UP_TO", 100)
    monkeypatch.setattr(shape_index, "ROWS_AT_ONCE", 700)  # so that building goes in parts


def test_a_small_collection_that_is_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(shape_index, "ROWS_AT_ONCE", 7)
    embeds, queries = clustered(60), clustered(4, 1)
    index = ShapeIndex.build(tmp_path / "i", embeds, items(60), model="m")
    assert index.is_exact
    for query, hits in zip(queries, index.search(queries, 9), strict=True):
        assert [hit.row for hit in hits] == [row for _, row in brute_force(embeds, query, 9)]
        assert [hit.item["id"] for hit in hits] == [f"shape-{hit.row}" for hit in hits]
    embeds[30] = 0
    with pytest.raises(UserError, match="embedding 30 is zero or not finite"):
        ShapeIndex.build(tmp_path / "j", embeds, items(60), model="m")


@pytest.mark.parametrize("row", [234, 599])
def test_a_bad_embedding_of_many_is_named_by_its_row_also_within_the_sample(tmp_path, small_limit, monkeypatch, row):
    monkeypatch.setattr(approximate, "TRAINING_VECTORS", 2)  # so that the sample is less than half of them
    embeds = clustered(600)
    embeds[row] = np.nan
    with pytest.raises(UserError, match=f"embedding {row} is zero or not finite"):
        ShapeIndex.build(tmp_path / "i", embeds, items(600), model="m")


@pytest.mark.parametrize("length", [1e-23, 1e20, 1e38])
def test_embeddings_whose_squares_float32_does_not_hold(tmp_path, length):
    directions = np.array([[1.0, 1.0], [1.0, -1.0], [0.0, 1.0]])
    index = ShapeIndex.build(tmp_path / "i", (length * directions).astype(np.float32), items(3), model="m")
    (hits,) = index.search(np.array([[length, 0.9 * length]], dtype=np.float32), 3)
    assert [hit.row for hit in hits] == [0, 2, 1]
    np.testing.assert_allclose(
        [hit.score for hit in hits], [score for score, _ in brute_force(directions, np.array([1, 0.9]), 3)], atol=1e-6
    )


@settings(max_examples=25)
@given(count=st.integers(1, 60), num_queries=st.integers(0, 5), k=st.integers(1, 70), seed=st.integers(0, 99))
def test_a_small_collection_is_searched_exactly(tmp_path_factory, count, num_queries, k, seed):
    embeds, queries = clustered(count, seed), clustered(num_queries, seed + 1)
    index = ShapeIndex.build(tmp_path_factory.mktemp("index") / "i", embeds, items(count), model="m")
    found = index.search(queries, k)
    assert len(found) == num_queries and len(index) == count
    for query, hits in zip(queries, found, strict=True):
        expected = brute_force(embeds, query, k)
        assert [hit.row for hit in hits] == [row for _, row in expected]
        assert [hit.score for hit in hits] == pytest.approx([score for score, _ in expected], abs=1e-6)
        assert [hit.item for hit in hits] == [items(count)[row] for _, row in expected]


def test_many_queries_at_once_find_what_each_finds_alone(tmp_path, monkeypatch):
    embeds, queries = clustered(90), clustered(40, seed=1)
    index = ShapeIndex.build(tmp_path / "i", embeds, items(90), model="m")
    monkeypatch.setattr(shape_index, "COSINES_AT_ONCE", 7 * 90)
    together = index.search(queries, 5)
    assert [[hit.row for hit in hits] for hits in together] == [
        [hit.row for hit in index.search(query[None], 5)[0]] for query in queries
    ]


def test_a_large_collection_is_searched_nearly_exactly(tmp_path, small_limit):
    embeds, queries = clustered(3000), clustered(30, seed=1)
    index = ShapeIndex.build(tmp_path / "i", embeds, items(3000), model="m")
    assert not index.is_exact and len(index) == 3000
    shared = 0
    for query, hits in zip(queries, index.search(queries, 10), strict=True):
        expected = {row: score for score, row in brute_force(embeds, query, 10)}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert [hit.item["id"] for hit in hits] == [f"shape-{hit.row}" for hit in hits]
        shared += len(expected.keys() & {hit.row for hit in hits})
        for hit in hits:
            if hit.row in expected:
                assert hit.score == pytest.approx(expected[hit.row], abs=5e-4)
    assert shared / 300 > 0.9


def test_a_large_collection_gives_as_many_as_are_asked_for(tmp_path, small_limit):
    embeds = clustered(2000)
    index = ShapeIndex.build(tmp_path / "i", embeds, items(2000), model="m")
    (hits,) = index.search(embeds[:1], 5000)
    assert sorted(hit.row for hit in hits) == list(range(2000))


@pytest.mark.parametrize("limit", [100, 10_000])
def test_the_same_build_gives_the_same_files_and_results(tmp_path, monkeypatch, limit):
    pytest.importorskip("faiss")
    monkeypatch.setattr(shape_index, "EXACT_UP_TO", limit)
    embeds, queries = clustered(3000), clustered(5, seed=1)
    first, second = (ShapeIndex.build(tmp_path / name, embeds, items(3000), model="m") for name in ("a", "b"))
    for file in first.folder.iterdir():
        assert file.read_bytes() == (second.folder / file.name).read_bytes()
    assert first.search(queries, 7) == second.search(queries, 7) == ShapeIndex.open(tmp_path / "a").search(queries, 7)


def test_equal_shapes_come_in_their_order(tmp_path):
    embeds = np.repeat(clustered(3), [4, 5, 6], axis=0)
    index = ShapeIndex.build(tmp_path / "i", embeds, items(15), model="m")
    assert [hit.row for hit in index.search(embeds[5:6], 5)[0]] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("k", [1, 5, 12, 999, 1000])
def test_of_equal_shapes_at_the_last_place_the_first_are_found(tmp_path, k):
    """Unit vectors, whose cosines are exact: a thousand alike, and a few better and worse among them."""
    embeds = np.tile(np.eye(WIDTH, dtype=np.float32)[0], (1000, 1))
    embeds[[500, 900, 40]] = np.eye(WIDTH)[1]
    embeds[[3, 4]] = np.eye(WIDTH)[2]
    index = ShapeIndex.build(tmp_path / "i", embeds, items(1000), model="m")
    query = np.eye(WIDTH, dtype=np.float32)[0] + 2 * np.eye(WIDTH, dtype=np.float32)[1]
    for queries in (query[None], np.stack([np.eye(WIDTH, dtype=np.float32)[2], query])):
        hits = index.search(queries, k)[-1]
        others = [row for row in range(1000) if row not in (3, 4, 40, 500, 900)]
        assert [hit.row for hit in hits] == [40, 500, 900, *others, 3, 4][:k]


@pytest.mark.parametrize("width", [7, 64, 768])
@pytest.mark.parametrize("count", [37, 1003])
def test_equal_shapes_come_in_their_order_wherever_a_product_has_them(tmp_path, monkeypatch, width, count):
    """A matrix product sums the columns of its last block in another order."""
    monkeypatch.setattr(shape_index, "REPEATED_AT_ONCE", 100)
    generator = np.random.default_rng(0)
    embeds = np.tile(generator.standard_normal(width).astype(np.float32), (count, 1))
    queries = generator.standard_normal((5, width)).astype(np.float32)
    index = ShapeIndex.build(tmp_path / "i", embeds, items(count), model="m")
    for k in (1, 10, count):
        for hits in index.search(queries, k):
            assert [hit.row for hit in hits] == list(range(k))
            assert len({hit.score for hit in hits}) == 1


def test_several_threads_search_at_once(tmp_path):
    embeds = clustered(2000)
    index = ShapeIndex.build(tmp_path / "i", embeds, items(2000), model="m")
    expected = index.search(embeds, 30)
    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda start: index.search(embeds[start : start + 50], 30), range(0, 2000, 50)))
    assert [hits for part in parts for hits in part] == expected


def test_without_faiss_a_large_collection_is_searched_exactly(tmp_path, small_limit, monkeypatch):
    embeds = clustered(200)
    with_faiss = ShapeIndex.build(tmp_path / "with", embeds, items(200), model="m")
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = ShapeIndex.build(tmp_path / "without", embeds, items(200), model="m")
    assert index.is_exact and not with_faiss.is_exact
    assert [hit.row for hit in index.search(embeds[:1], 9)[0]] == [row for _, row in brute_force(embeds, embeds[0], 9)]
    with pytest.raises(UserError, match=r"pip install 'mrd-hf\[retrieval\]'"):
        ShapeIndex.open(tmp_path / "with")


def test_facts_are_kept(tmp_path):
    facts = {"model": "m", "teacher": "t@1", "model_sha256": "abc", "config_sha256": "def", "input": {"a": 1}}
    built = ShapeIndex.build(tmp_path / "i", clustered(3), items(3), **facts)
    for index in (built, ShapeIndex.open(tmp_path / "i")):
        assert (index.model, index.teacher, index.model_sha256, index.embedding_dim) == ("m", "t@1", "abc", WIDTH)
        assert index.config_sha256 == "def" and index.input == {"a": 1}
    assert ShapeIndex.build(tmp_path / "j", clustered(3), items(3), model="m").teacher is None


def test_embeddings_of_a_large_collection_may_be_stored_by_columns(tmp_path, small_limit):
    embeds = clustered(3000)
    by_rows, by_columns = (
        ShapeIndex.build(tmp_path / name, order(embeds), items(3000), model="m")
        for name, order in (("rows", np.ascontiguousarray), ("columns", np.asfortranarray))
    )
    assert by_columns.search(embeds[:5], 7) == by_rows.search(embeds[:5], 7)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_embeddings_may_be_of_any_floats_and_on_the_disk(tmp_path, dtype):
    np.save(tmp_path / "embeds.npy", clustered(50).astype(dtype))
    embeds = np.load(tmp_path / "embeds.npy", mmap_mode="r")
    index = ShapeIndex.build(tmp_path / "i", embeds, items(50), model="m")
    assert index.search(embeds[7:8], 1)[0][0].row == 7


def test_items_of_a_dataset_keep_its_order_columns_and_pictures(tmp_path):
    rows = [
        {"id": str(number), "picture": PillowImage.new("RGB", (2, 2), (number, 0, 0)), "size": None}
        for number in range(600)
    ]
    features = Features({"id": Value("string"), "picture": Image(), "size": Value("int32")})
    dataset = Dataset.from_list(rows, features=features).select(range(599, -1, -1))
    embeds = clustered(600)
    index = ShapeIndex.build(tmp_path / "i", embeds, dataset, model="m")
    for row in (0, 255, 256, 599):
        hit = index.search(embeds[row : row + 1], 1)[0][0]
        assert hit.row == row and hit.item["id"] == str(599 - row) and hit.item["size"] is None
        assert hit.item["picture"]["bytes"][:4] == b"\x89PNG"


def test_an_item_that_lacks_a_field_has_null(tmp_path):
    index = ShapeIndex.build(tmp_path / "i", clustered(2), [{"id": "a"}, {"id": "b", "note": "ä\n"}], model="m")
    assert {hit.item["id"]: hit.item["note"] for hit in index.search(clustered(1), 2)[0]} == {"a": None, "b": "ä\n"}


@pytest.mark.parametrize(
    ("embeds", "rows", "message"),
    [
        (clustered(3), items(2), r"embeddings of shape \(3, 24\), float32, for 2 items"),
        (clustered(3)[0], items(24), r"expected floats of shape \(24, embedding_dim\)"),
        (clustered(0), [], "at least one"),
        (np.ones((2, 4), dtype=np.int64), items(2), "int64"),
        (np.array([[1, 0], [0, 0]], dtype=np.float32), items(2), "embedding 1 is zero or not finite"),
        (np.array([[np.nan, 0], [0, 1]], dtype=np.float32), items(2), "embedding 0 is zero or not finite"),
        (clustered(1), [{"name": "a"}], "need a column 'id'; they have name"),
        (clustered(2), [{"id": 1}, {"id": "b"}], "columns of one type"),
        (clustered(1), [{"id": "a", "more": {}}], "which parquet has"),
        (clustered(1), [{"id": 2**70}], "which parquet has"),
        (clustered(1), [{"id": "\ud800"}], "which parquet has"),
    ],
)
def test_what_does_not_fit_together_is_refused_and_leaves_nothing(tmp_path, embeds, rows, message):
    with pytest.raises(UserError, match=message):
        ShapeIndex.build(tmp_path / "i", embeds, rows, model="m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (clustered(2)[:, :5], 3, r"queries of shape \(2, 5\).*\(number of queries, 24\), from the-teacher or m"),
        (clustered(1)[0], 3, r"queries of shape \(24,\)"),
        (np.zeros((1, WIDTH)), 3, "query 0 is zero"),
        (np.full((1, WIDTH), np.inf), 3, "query 0 is zero or not finite"),
        (clustered(1), 0, "k is 0"),
    ],
)
def test_queries_that_cannot_be_compared_are_refused(tmp_path, queries, k, message):
    index = ShapeIndex.build(tmp_path / "i", clustered(5), items(5), model="m", teacher="the-teacher")
    with pytest.raises(UserError, match=message):
        index.search(queries, k)


def test_an_index_is_replaced_and_anything_else_is_not(tmp_path, monkeypatch):
    ShapeIndex.build(tmp_path / "i", clustered(5), items(5), model="old")
    assert ShapeIndex.build(tmp_path / "i", clustered(2), items(2), model="new").model == "new"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("more of it")
    for path in (tmp_path / "thesis", tmp_path / "file"):
        with pytest.raises(UserError, match="is no index; it is left as it is"):
            ShapeIndex.build(path, clustered(2), items(2), model="m")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert len(ShapeIndex.build(tmp_path / "new" / "deep", clustered(2), items(2), model="m")) == 2
    monkeypatch.chdir(tmp_path / "i")
    with pytest.raises(UserError, match="is the folder that you are in"):
        ShapeIndex.build(".", clustered(2), items(2), model="m")


@pytest.mark.parametrize("limit", [100, 10_000])
def test_files_that_do_not_belong_together_are_named(tmp_path, monkeypatch, limit):
    pytest.importorskip("faiss")
    monkeypatch.setattr(shape_index, "EXACT_UP_TO", limit)
    ShapeIndex.build(tmp_path / "a", clustered(3000), items(3000), model="m")
    ShapeIndex.build(tmp_path / "b", clustered(3000, seed=5), items(3000)[::-1], model="m")
    embeds = "embeds.faiss" if limit == 100 else "embeds.npy"
    for name in (embeds, "items.parquet"):
        mixed = tmp_path / "mixed"
        shutil.copytree(tmp_path / "a", mixed)
        shutil.copy(tmp_path / "b" / name, mixed / name)
        with pytest.raises(UserError, match=f"mixed: {name} is damaged, or of another index"):
            ShapeIndex.open(mixed)
        (mixed / name).write_bytes((tmp_path / "a" / name).read_bytes()[:-1])
        with pytest.raises(UserError, match=f"{name} is damaged"):
            ShapeIndex.open(mixed)
        (mixed / name).unlink()
        with pytest.raises(UserError, match=f"{name} is missing"):
            ShapeIndex.open(mixed)
        shutil.rmtree(mixed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts | {"version": 2}, "version 2; this mrd-hf reads version 1"),
        (lambda facts: facts | {"count": 6}, "5 embeddings of width 24 and 5 items, but index.json says 6"),
        (lambda facts: facts | {"width": 9}, "says 5 of width 9"),
        (lambda facts: {key: facts[key] for key in facts if key != "teacher"}, "is incomplete"),
        (lambda facts: facts | {"files": {"../secret": "0"}}, "'files' is not what an index has there"),
        (lambda facts: [1], "cannot be read"),
    ],
)
def test_facts_that_do_not_fit_are_named(tmp_path, change, message):
    ShapeIndex.build(tmp_path / "i", clustered(5), items(5), model="m")
    facts = tmp_path / "i" / "index.json"
    facts.write_text(json.dumps(change(json.loads(facts.read_text()))))
    with pytest.raises(UserError, match=message):
        ShapeIndex.open(tmp_path / "i")


@pytest.mark.parametrize(
    "value", [None, True, 1.5, -1, 10**30, "x", ["x"], [["items.parquet", "embeds.npy"]], {"a": 1}]
)
def test_values_of_other_types_are_named(tmp_path, value):
    """None of them ends in another kind of error, whatever the field, in opening or in searching."""
    built = ShapeIndex.build(tmp_path / "i", clustered(5), items(5), model="m", teacher="t", text_tower="w")
    facts = tmp_path / "i" / "index.json"
    right = json.loads(facts.read_text())
    texts = {"model_sha256", "config_sha256", "teacher", "text_tower"}
    fine = {None: {"input", *texts}, "x": {"model", *texts}}
    for name in right:
        facts.write_text(json.dumps(right | {name: value}))
        is_fine = name == "input" if isinstance(value, dict) else isinstance(value, (str, type(None)))
        if is_fine and (isinstance(value, dict) or name in fine[value]):
            assert len(ShapeIndex.open(tmp_path / "i").search(clustered(1), 2)[0]) == 2
        else:
            with pytest.raises(UserError, match="index.json"):
                ShapeIndex.open(tmp_path / "i")
    facts.write_text(json.dumps(right))
    assert len(ShapeIndex.open(built.folder)) == 5


def test_an_index_that_is_replaced_while_it_is_opened_is_the_old_or_the_new_one(tmp_path, monkeypatch):
    old, new = clustered(5), clustered(3, seed=1)
    ShapeIndex.build(tmp_path / "i", old, items(5), model="old")
    ShapeIndex.build(tmp_path / "other", new, items(3), model="new")
    read_facts, replacements = shape_index.read_facts, [tmp_path / "other"]

    def read_and_replace(folder):
        facts = read_facts(folder)
        if replacements:
            shutil.rmtree(folder)
            replacements.pop().rename(folder)
        return facts

    monkeypatch.setattr(shape_index, "read_facts", read_and_replace)
    index = ShapeIndex.open(tmp_path / "i")
    assert index.model == "new" and len(index) == 3
    for count in range(shape_index.ATTEMPTS):
        monkeypatch.setattr(shape_index, "read_facts", read_facts)
        replacements.append(ShapeIndex.build(tmp_path / f"again-{count}", new, items(3), model="new").folder)
    monkeypatch.setattr(shape_index, "read_facts", read_and_replace)
    with pytest.raises(UserError, match="is replaced again and again"):
        ShapeIndex.open(tmp_path / "i")


def test_files_of_the_right_digest_and_the_wrong_kind_are_named(tmp_path):
    """As of someone who wrote an index by other means, or to harm."""
    folder = ShapeIndex.build(tmp_path / "i", clustered(5), items(5), model="m").folder

    def sign() -> None:
        facts = json.loads((folder / "index.json").read_text())
        facts["files"] = {name: fingerprint(folder / name) for name in facts["files"]}
        (folder / "index.json").write_text(json.dumps(facts))

    embeds, table = (folder / "embeds.npy").read_bytes(), (folder / "items.parquet").read_bytes()
    for wrong in (
        np.zeros(5, np.float32),
        np.zeros((5, 24)),
        np.array([{}] * 5, dtype=object),
        np.zeros((5, 24), "U3"),
    ):
        np.save(folder / "embeds.npy", wrong, allow_pickle=True)
        sign()
        with pytest.raises(UserError, match=r"embeds.npy (holds no embeddings|cannot be read)"):
            ShapeIndex.open(folder)
    for wrong in (b"", embeds[:60], b"PK\x03\x04", embeds[:200]):
        (folder / "embeds.npy").write_bytes(wrong)
        sign()
        with pytest.raises(UserError, match="embeds.npy cannot be read"):
            ShapeIndex.open(folder)
    (folder / "embeds.npy").write_bytes(embeds)
    for wrong in (b"", table[:-9], embeds):
        (folder / "items.parquet").write_bytes(wrong)
        sign()
        with pytest.raises(UserError, match="items.parquet"):
            ShapeIndex.open(folder)
    pq.write_table(pa.table({"name": ["a"] * 5}), folder / "items.parquet")
    sign()
    with pytest.raises(UserError, match="items.parquet: has no column 'id'"):
        ShapeIndex.open(folder)
    (folder / "items.parquet").write_bytes(table[:4] + bytes(len(table) // 3) + table[4 + len(table) // 3 :])
    sign()
    with pytest.raises(UserError, match="items.parquet"):
        ShapeIndex.open(folder).search(clustered(1), 5)


def test_no_index_is_named_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match="no index there .*`mrd-hf index`"):
        ShapeIndex.open(tmp_path)


@pytest.mark.parametrize(("count", "cells", "probes"), [(50_001, 1024, 48), (10**6, 4096, 192), (10**8, 32768, 1536)])
def test_a_query_sees_a_small_share_of_the_cells(count, cells, probes):
    assert approximate.num_cells(count) == cells and approximate.num_probes(cells) == probes


def test_hits_are_plain_values(tmp_path):
    hit = ShapeIndex.build(tmp_path / "i", clustered(1), items(1), model="m").search(clustered(1), 1)[0][0]
    assert isinstance(hit, Hit) and type(hit.score) is float and type(hit.row) is int
    assert json.dumps(hit.item) == '{"id": "shape-0", "path": "meshes/0.glb"}'
