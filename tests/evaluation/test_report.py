"""Reports: what is written is what was found, each shape's part included; tables line up."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from tiny_reports import make_report

from mrd_hf.errors import UserError
from mrd_hf.evaluation.report import (
    as_metrics,
    check_replaceable,
    metrics_table,
    read_report,
    report_table,
)


def test_a_report_is_written_and_read_whole(tmp_path):
    make_report().save(tmp_path)
    report, outcomes = read_report(tmp_path)
    assert report["model"] == {"name": "org/encoder", "sha256": "0" * 64, "config_sha256": "c" * 64}
    assert report["benchmark"] == {"name": "toy", "split": "test", "num_shapes": 3, "num_classes": 4}
    first = {"key": "zero_shot_top1", "title": "zero-shot top-1", "value": 0.5, "low": 0.0, "high": 1.0}
    compared = {"num_shapes": 2, "chance": 0.25, "majority": 0.5, "teacher": 0.75, "statistic": "mean"}
    assert report["metrics"][0] == first | compared
    assert outcomes.to_pydict() == {
        "id": ["a", "b", "c"],
        "label": [1, -1, 0],
        "zero_shot_top1": [1.0, None, 0.0],
        "x_median_rank": [1.0, None, 0.0],
    }


def test_of_a_part_of_a_benchmark_report_and_table_say_it(tmp_path):
    whole, part = make_report(), make_report(is_part=True)
    assert report_table(whole.as_dict()) == metrics_table(whole.as_dict()["metrics"])
    part.save(tmp_path)
    report, _ = read_report(tmp_path)
    assert report["benchmark"] == whole.as_dict()["benchmark"] | {"is_part": True}
    heading, _, *table = report_table(report).split("\n")
    assert heading == "a part of toy, not comparable with scores of all of it:"
    assert table == metrics_table(report["metrics"]).split("\n")


def test_the_same_report_has_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        make_report().save(tmp_path / name)
    for file in ("report.json", "outcomes.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("spoil", ["missing", "json", "version", "parquet"])
def test_what_is_no_report_is_named(tmp_path, spoil):
    folder = tmp_path / "evaluation"
    make_report().save(folder)
    file = folder / "report.json"
    if spoil == "missing":
        file.unlink()
    elif spoil == "json":
        file.write_text("{")
    elif spoil == "version":
        file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 2}))
    else:
        (folder / "outcomes.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=rf"{folder}.*mrd-hf evaluate"):
        read_report(folder)


def test_outcomes_of_another_evaluation_are_not_taken(tmp_path):
    """As a run leaves them that was killed between the two files."""
    for name, seed in (("a", 0), ("b", 1)):
        make_report(ids=[f"{name}{row}" for row in range(3)], seed=seed).save(tmp_path / name)
    shutil.copy(tmp_path / "b" / "outcomes.parquet", tmp_path / "a")
    with pytest.raises(UserError, match=r"a/outcomes.parquet: is of another evaluation than report.json"):
        read_report(tmp_path / "a")
    # Earlier versions wrote no digest.
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    del report["outcomes_sha256"]
    (tmp_path / "a" / "report.json").write_text(json.dumps(report))
    assert read_report(tmp_path / "a")[1]["id"].to_pylist() == ["b0", "b1", "b2"]


def test_the_report_of_something_else_is_not_replaced(tmp_path):
    same = ("0" * 64, "c" * 64, "toy", "test", ["a", "b", "c"])
    check_replaceable(tmp_path, *same)
    make_report().save(tmp_path)
    check_replaceable(tmp_path, *same)
    for place, other in ((0, "1" * 64), (2, "modelnet40"), (3, "train")):
        message = f"has the report of org/encoder .weights 000000000000. on toy .test.*{other[:12]}.*--overwrite"
        with pytest.raises(UserError, match=message):
            check_replaceable(tmp_path, *same[:place], other, *same[place + 1 :])
    with pytest.raises(UserError, match=r"org/encoder .* on toy .test., whose config.json was another.*--overwrite"):
        check_replaceable(tmp_path, same[0], "d" * 64, *same[2:])
    for ids in (["a", "b"], ["a", "b", "d"]):
        with pytest.raises(UserError, match=rf"3 shapes, and this is one of {len(ids)} of which some have other ids"):
            check_replaceable(tmp_path, *same[:4], ids)
    earlier = json.loads((tmp_path / "report.json").read_text())
    del earlier["model"]["config_sha256"]
    (tmp_path / "report.json").write_text(json.dumps(earlier))
    check_replaceable(tmp_path, *same)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match="holds no evaluation.*Or replace it with --overwrite"):
        check_replaceable(tmp_path, *same)


def test_metrics_go_to_trackers_by_their_key():
    assert as_metrics(make_report().scores) == {
        "zero_shot_top1": 0.5,
        "few_shot_5_way_1_shot": 0.4,
        "x_median_rank": 7.0,
    }


def test_the_table_is_aligned_with_shares_in_percent_and_ranks_as_they_are():
    lines = metrics_table(make_report().as_dict()["metrics"]).split("\n")
    assert lines[0].split()[-4:] == ["interval", "chance", "majority", "teacher"]
    assert len(lines) == 5 and len({len(line) for line in lines}) == 1
    assert lines[2].split()[-8:] == ["2", "50.0", "0.0", "to", "100.0", "25.0", "50.0", "75.0"]
    assert lines[4].split()[-8:] == ["3", "7.0", "3.0", "to", "9.5", "-", "-", "-"]


def test_few_shot_figures_are_not_of_single_shapes(tmp_path):
    make_report().save(tmp_path)
    assert "few_shot_5_way_1_shot" not in pq.read_schema(tmp_path / "outcomes.parquet").names
