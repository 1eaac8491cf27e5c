"""The page of evidence: its tables are those of the ablations, and none of their arms is left out."""

import json
import re
import shutil
from fnmatch import fnmatch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.paths import ROOT, SCRIPTS

from mrd_hf.errors import UserError
from mrd_hf.evaluation.ablation.arm_scores import arm_scores, read_outcomes
from mrd_hf.evaluation.report import EvaluationReport
from mrd_hf.evaluation.scoring import retrieval_scores, zero_shot_scores
from mrd_hf.training.ablation.recipe import read_ablation
from mrd_hf.training.ablation.status import Status


PAGE = ROOT / "model_cards" / "EVIDENCE.md"
NAMES = {"zero_shot_top1": "zero-shot top-1 (9 classes)", "shape_to_shape_map": "mAP"}


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS / "evidence")
    import evidence_tables

    return evidence_tables


@pytest.fixture
def fill(tables):
    return lambda text, folder: tables.fill(text, folder)[0]


def test_every_shape_that_is_scored_has_the_class_that_its_scores_are_of(monkeypatch):
    """A shape has a zero-shot outcome if, and only if, the intervals by class know its class."""
    monkeypatch.syspath_prepend(SCRIPTS / "evidence")
    monkeypatch.chdir(ROOT)
    import class_intervals

    classes = class_intervals.read_classes()
    table = pq.read_table(class_intervals.ARMS, columns=["id", "zero_shot_top1"])
    scored = {id_: value is not None for id_, value in zip(*(c.to_pylist() for c in table.columns), strict=True)}
    assert len(set(classes.values())) == 66
    assert {id_ for id_, is_scored in scored.items() if is_scored} == scored.keys() & classes.keys()


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS / "evidence")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    import kept_outcomes

    return kept_outcomes


def finished_run(out, arm, split, seed, settings="these", **seconds):
    """The folder of a run, with a report as `mrd-hf evaluate` writes it."""
    rng = np.random.default_rng([len(arm), split, seed])
    shapes, images = rng.standard_normal((2, 20, 8))
    classes, ids = rng.standard_normal((4, 8)), [f"shape {split}-{number}" for number in range(20)]
    labels = np.random.default_rng(split).integers(-1, 4, 20)
    scores = zero_shot_scores(shapes, classes, labels)
    scores += retrieval_scores("shape_to_image", "shape to image", shapes, images, ids, ids)
    folder = out / "runs" / arm / f"split-{split}" / f"seed-{seed}"
    (folder / "validation").mkdir(parents=True)
    report = EvaluationReport("m", "0", "0", "b", "validation", ids, labels, 4, "t", None, 0, scores)
    report.save(folder / "validation")
    Status(settings, seconds, code="abc").save(folder)
    return folder


def score(arm, key, mean, against=None, gain=None, num_runs=6):
    difference = gain and dict(zip(("difference", "low", "high"), gain, strict=True))
    row = {"arm": arm, "key": key, "title": NAMES[key], "mean": mean, "baseline": against, "difference": difference}
    excludes = bool(gain) and gain[1] * gain[2] > 0
    return row | {
        "num_runs": num_runs,
        "num_planned": 6,
        "num_pairs": num_runs if gain else 0,
        "excludes_zero": excludes,
    }


def write_table(folder):
    scores = [
        score("contrastive", "zero_shot_top1", 0.25),
        score("contrastive", "shape_to_shape_map", 0.5),
        score("mrd", "zero_shot_top1", 0.3, "contrastive", (0.05, -0.01, 0.111)),
        score("mrd", "shape_to_shape_map", 0.6, "contrastive", (0.1, 0.02, 0.2)),
    ]
    (folder / "one.json").write_text(json.dumps({"scores": scores}))
    scores += [
        score("terms_b", "zero_shot_top1", None, "contrastive", num_runs=0),
        score("terms_a", "zero_shot_top1", 0.2, "contrastive", (-0.05, -0.1, -0.01), num_runs=3),
    ]
    (folder / "arms.json").write_text(json.dumps({"scores": scores}))


def test_an_arm_a_row_in_the_order_that_the_comment_has(fill, tmp_path):
    write_table(tmp_path)
    text = "Before\n<!-- arms: arms.json terms_* mrd -->\nold\n<!-- end -->\nafter"
    filled = fill(text, tmp_path)
    assert filled.startswith("Before\n<!-- arms: arms.json terms_* mrd -->\n| arm | pairs | zero-shot top-1 |")
    assert filled.endswith("|\n<!-- end -->\nafter") and "old" not in filled
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in filled.splitlines() if line.startswith("| ")]
    assert [row[:3] for row in rows[2:]] == [
        ["*contrastive*", "", "25.0"],
        ["terms_b", "0 of 6", "-"],
        ["terms_a", "3 of 6", "**-5.0 (-10.0 to -1.0)**"],
        ["mrd", "6", "+5.0 (-1.0 to +11.1)"],
    ]
    assert rows[-1][rows[0].index("same category, mAP")] == "**+10.0 (+2.0 to +20.0)**"
    assert fill(filled, tmp_path) == filled


def test_the_means_of_the_baseline_are_of_the_runs_that_the_arms_are_compared_with(fill, tmp_path):
    """Not those of another kind of processor, which may have as many; nor any where they are of several."""
    write_table(tmp_path)
    found = json.loads((tmp_path / "arms.json").read_text())
    found["scores"] += [
        score(arm, "zero_shot_top1", 0.35, "contrastive", (0.05, -0.01, 0.111)) for arm in ("form_a", "form_b")
    ]
    (tmp_path / "arms.json").write_text(json.dumps(found))
    assert "| *contrastive* |  | 30.0 | - |" in fill("<!-- arms: arms.json form_* -->\n<!-- end -->", tmp_path)
    assert "*contrastive*" not in fill("<!-- arms: arms.json form_* mrd -->\n<!-- end -->", tmp_path)


def test_a_score_a_row_for_one_arm(fill, tmp_path):
    write_table(tmp_path)
    filled = fill("<!-- main: one.json -->\n<!-- end -->", tmp_path)
    assert filled.splitlines()[1] == "|  | contrastive | mrd | difference | 95% interval | pairs | excludes 0 |"
    assert filled.splitlines()[3:5] == [
        "| zero-shot top-1 (9 classes) | 25.0 | 30.0 | +5.0 | -1.0 to +11.1 | 6 | no |",
        "| mAP | 50.0 | 60.0 | +10.0 | +2.0 to +20.0 | 6 | **yes** |",
    ]


def test_a_score_of_one_split_alone(fill, tables, tmp_path):
    """As the table of the ablation has it; the page is known again."""
    write_table(tmp_path)
    found = json.loads((tmp_path / "one.json").read_text())
    for row in found["scores"]:
        row |= {"num_splits": 1, "excludes_zero": False}
    (tmp_path / "one.json").write_text(json.dumps(found))
    filled = fill("<!-- main: one.json -->\n<!-- end -->", tmp_path)
    assert filled.count("| 6 | one split |") == 2
    more = filled.replace("| 6 | one", "| 7 | one")
    assert tables.fill(more, tmp_path) == (more, ["one.json: has fewer pairs of mrd"])


def test_what_is_not_there_stays_as_it_was(tables, tmp_path):
    text = "<!-- main: gone.json -->\n| a table |\n<!-- end -->"
    assert tables.fill(text, tmp_path) == (text, ["gone.json: there is no such file"])


def test_a_table_that_tells_of_more_pairs_stays_as_it_was(fill, tables, tmp_path):
    write_table(tmp_path)
    filled = fill("<!-- main: one.json -->\n<!-- end -->", tmp_path)
    text = filled.replace("+11.1 | 6 | no |", "+11.1 | 7 | no |")
    assert tables.fill(text, tmp_path) == (text, ["one.json: has fewer pairs of mrd"]) and text != filled
    text = "<!-- arms: arms.json mrd terms_a -->\n| mrd | 6 | |\n| terms_a | 4 of 6 | |\n<!-- end -->"
    assert fill(text, tmp_path) == text
    assert "| terms_a | 3 of 6 |" in fill(text.replace("4 of 6", "3 of 6"), tmp_path)


def test_outcomes_that_are_kept_give_the_scores_of_the_reports(kept, tmp_path):
    places = [(arm, split, seed) for arm in ("contrastive", "mrd") for split in (0, 1) for seed in (0, 1)]
    folders = {place: finished_run(tmp_path, *place, pretrain=30.0, validation=2.0) for place in places}
    finished_run(tmp_path, "mrd", 2, 0, pretrain=30.0)  # which is still to be scored
    assert kept.keep(tmp_path, tmp_path / "kept" / "arms.parquet") == len(places)
    found, expected = kept.read_kept(tmp_path / "kept" / "arms.parquet")["AVX2"], {}
    for (arm, split, seed), folder in folders.items():
        expected.setdefault(arm, {})[split, seed] = of_report = read_outcomes(folder / "validation")
        assert found[arm][split, seed].ids == of_report.ids and found[arm][split, seed].titles == of_report.titles
    baselines = {"contrastive": None, "mrd": "contrastive"}
    for ours, theirs in zip(arm_scores(found, baselines, 4), arm_scores(expected, baselines, 4), strict=True):
        assert (ours.arm, ours.key, ours.num_runs, ours.num_pairs) == (theirs.arm, theirs.key, 4, theirs.num_pairs)
        assert ours.mean == pytest.approx(theirs.mean, abs=1e-7)
        if theirs.difference is not None:
            bounds = [(each.difference.low, each.difference.high) for each in (ours, theirs)]
            assert bounds[0] == pytest.approx(bounds[1], abs=1e-6)


def test_runs_of_another_folder_stay_and_those_of_this_one_are_renewed(kept, tmp_path):
    file = tmp_path / "arms.parquet"
    for day, seconds in (("monday", 10.0), ("tuesday", 20.0)):
        finished_run(tmp_path / day, "mrd", 0, 0, pretrain=30.0, validation=seconds)
        finished_run(tmp_path / day, day, 0, 1, pretrain=30.0, validation=seconds)
        count = kept.keep(tmp_path / day, file)
    assert count == 3 and list(kept.read_kept(file)["AVX2"]) == ["monday", "mrd", "tuesday"]
    rows = pq.read_table(file, columns=["arm", "seconds"]).to_pylist()
    assert {(row["arm"], row["seconds"]) for row in rows} == {("monday", 40), ("mrd", 50), ("tuesday", 50)}
    before = file.read_bytes()
    assert kept.keep(tmp_path / "tuesday", file) == 3 and file.read_bytes() == before


def test_a_run_of_other_settings_does_not_take_the_place_of_one(kept, tmp_path):
    finished_run(tmp_path / "arms", "mrd", 0, 0, validation=1.0)
    finished_run(tmp_path / "main", "mrd", 0, 0, settings="others", validation=1.0)
    kept.keep(tmp_path / "arms", tmp_path / "arms.parquet")
    with pytest.raises(UserError, match="arms.parquet: has mrd, split 0, seed 0 of other settings"):
        kept.keep(tmp_path / "main", tmp_path / "arms.parquet")


def test_outcomes_of_other_names_do_not_take_the_place_of_these(kept, tmp_path):
    """Their runs have the same settings."""
    folder = finished_run(tmp_path, "mrd", 0, 0, validation=1.0, test=1.0)
    shutil.copytree(folder / "validation", folder / "test")
    file = tmp_path / "arms.parquet"
    assert kept.keep(tmp_path, file) == kept.keep(tmp_path, file) == 1
    before = file.read_bytes()
    with pytest.raises(
        UserError, match=r"arms.parquet: has outcomes of validation names, and these are of test names"
    ):
        kept.keep(tmp_path, file, "test")
    assert file.read_bytes() == before
    assert kept.keep(tmp_path, tmp_path / "test.parquet", "test") == 1
    with pytest.raises(UserError, match="of test names, and these are of validation names"):
        kept.keep(tmp_path, tmp_path / "test.parquet")


def test_pairs_are_of_one_kind_of_processor_each(kept, tables, monkeypatch, tmp_path):
    """Those of the kind on which an arm has most."""
    file, recipe = tmp_path / "arms.parquet", read_ablation("arms")
    runs = {"AVX2": (("contrastive", 2), ("mrd", 2), ("weights_fixed", 1)), "AVX512": (("contrastive", 1), ("mrd", 4))}
    runs["AVX512"] += (("weights_target", 1),)
    for processor, arms in runs.items():
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda processor=processor: processor)
        for arm, count in arms:
            for number in range(count):
                finished_run(tmp_path / processor, arm, number // 2, number % 2, validation=1.0)
        kept.keep(tmp_path / processor, file)
    pairs = {score.arm: score.num_pairs for score in tables.kept_scores(file, recipe) if score.num_runs}
    assert pairs == {"contrastive": 0, "mrd": 2, "weights_fixed": 1, "weights_target": 1}
    assert {score.arm for score in tables.kept_scores(file, recipe)} == recipe.arms.keys()


def test_the_processor_is_that_of_the_training_where_its_status_says(kept, tmp_path):
    folder = finished_run(tmp_path, "mrd", 0, 0, validation=1.0)
    finished_run(tmp_path, "mrd", 0, 1, validation=1.0)
    Status("these", {"validation": 1.0}, cpu="AVX512").save(folder)
    kept.keep(tmp_path, tmp_path / "arms.parquet")
    found = kept.read_kept(tmp_path / "arms.parquet")
    assert {kind: list(of_kind["mrd"]) for kind, of_kind in found.items()} == {"AVX512": [(0, 0)], "AVX2": [(0, 1)]}


def test_runs_on_a_gpu_are_no_pairs_of_runs_on_this_cpu(kept, tmp_path):
    Status("these", {"validation": 1.0}, device="cuda").save(finished_run(tmp_path, "mrd", 0, 0, validation=1.0))
    finished_run(tmp_path, "contrastive", 0, 0, validation=1.0)
    kept.keep(tmp_path, tmp_path / "arms.parquet")
    found = kept.read_kept(tmp_path / "arms.parquet")
    assert found.keys() == {"cuda", "AVX2"} and list(found["cuda"]) == ["mrd"]


def test_differences_of_more_pairs_stay_as_they_were(kept, tables, fill, tmp_path):
    for arm in ("contrastive", "mrd", "weights_fixed"):
        for seed in (0, 1):
            finished_run(tmp_path, arm, 0, seed, validation=1.0)
    kept.keep(tmp_path, tmp_path / "arms.parquet")
    filled = fill("<!-- gains: arms.parquet mrd:weights_fixed -->\n<!-- end -->", tmp_path)
    assert "| mrd | weights_fixed | 2 | " in filled and fill(filled, tmp_path) == filled
    more = filled.replace("| weights_fixed | 2 | ", "| weights_fixed | 3 | ")
    assert tables.fill(more, tmp_path) == (
        more,
        ["arms.parquet mrd:weights_fixed: has fewer pairs of mrd:weights_fixed"],
    )


def test_a_curve_is_drawn_of_arms_that_have_all_of_their_pairs(kept, tables, tmp_path):
    file, recipe = tmp_path / "arms.parquet", read_ablation("arms")
    places = [(split, seed) for split in recipe.splits for seed in recipe.seeds]
    for arm in ("contrastive", "mrd", "weight_1"):
        for split, seed in places if arm != "weight_1" else places[:-1]:
            finished_run(tmp_path, arm, split, seed, validation=1.0)
    kept.keep(tmp_path, file)
    assert tables.draw_curves(file, recipe, tmp_path) == []
    finished_run(tmp_path, "weight_1", *places[-1], validation=1.0)
    kept.keep(tmp_path, file)
    (drawn,) = tables.draw_curves(file, recipe, tmp_path)
    assert drawn == tmp_path / "evidence_relation_weight.png" and drawn.is_file()


def test_differences_of_gains_are_numpys(kept, tables, tmp_path):
    """Over the pairs that all four arms have; an interval lies around the difference."""
    file, arms = (
        tmp_path / "arms.parquet",
        ("batch_32", "batch_32_contrastive", "steps_120", "steps_120_contrastive"),
    )
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    folders = {(arm, *place): finished_run(tmp_path, arm, *place, validation=1.0) for arm in arms for place in places}
    finished_run(tmp_path, "batch_32", 2, 0, validation=1.0)  # which the other three lack
    kept.keep(tmp_path, file)
    of = {place: read_outcomes(folder / "validation").values["zero_shot_top1"] for place, folder in folders.items()}
    smaller, larger = (np.mean([of[arm, *at] - of[f"{arm}_contrastive", *at] for at in places]) for arm in arms[::2])
    rows = tables.gain_rows(file, ["batch_32:steps_120", "batch_128:steps_120"])
    assert rows[0][:4] == ["gain of", "less that of", "pairs", "zero-shot top-1"]
    assert rows[1][:3] == ["batch_32", "steps_120", "4"] and rows[2][2:] == ["0", *"-----"]
    middle, low, high = (float(number) for number in re.findall(r"[+-][\d.]+", rows[1][3]))
    assert middle == pytest.approx(100 * (smaller - larger), abs=0.06) and low < middle < high
    with pytest.raises(UserError, match="contrastive: is no arm with a baseline"):
        tables.gain_rows(file, ["batch_32:contrastive"])


def test_differences_of_gains_are_of_the_processor_with_most_pairs(kept, tables, monkeypatch, tmp_path):
    file, recipe = tmp_path / "arms.parquet", read_ablation("arms")
    for processor, count in (("AVX2", 2), ("AVX512", 4), ("NEON", 1)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda processor=processor: processor)
        for arm in ("contrastive", "mrd", "weights_fixed"):
            for number in range(count):
                finished_run(tmp_path / processor, arm, number // 2, number % 2, validation=1.0)
        kept.keep(tmp_path / processor, file)
    scores = tables.gain_differences(kept.read_kept(file), recipe, "mrd", "weights_fixed")
    assert {(score.num_pairs, score.num_planned) for score in scores} == {(4, 6)}


def test_intervals_by_class_are_those_of_classes_resampled_together(kept, tables, monkeypatch, capsys, tmp_path):
    """Two classes of shapes, of which one gains much: shape by shape the gain is certain, class by class it is not."""
    monkeypatch.chdir(tmp_path)
    import class_intervals

    def class_of(shape):
        return "gaining" if int(shape.rpartition("-")[2]) % 4 == 0 else "other"

    recipe, file = read_ablation("arms"), tmp_path / "arms.parquet"
    for arm in ("contrastive", "mrd"):
        for split, seed in [(split, seed) for split in recipe.splits for seed in recipe.seeds]:
            finished_run(tmp_path, arm, split, seed, validation=1.0)
    kept.keep(tmp_path, file)
    table = pq.read_table(file)
    rows = zip(table["arm"].to_pylist(), table["id"].to_pylist(), table["zero_shot_top1"].to_pylist(), strict=True)
    hits = [
        hit if hit is None else (0.5 if class_of(shape) == "other" else float(arm == "mrd"))
        for arm, shape, hit in rows
    ]
    place = table.schema.get_field_index("zero_shot_top1")
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(hits, pa.float32())), file)

    baselines = {"contrastive": None, "mrd": "contrastive"}
    runs = kept.read_kept(tmp_path / "arms.parquet")["AVX2"]
    by_class = tables.kept_scores(tmp_path / "arms.parquet", recipe, class_of)
    expected = {score.key: score for score in arm_scores(runs, baselines, 6, group_of=class_of) if score.arm == "mrd"}
    alone = {score.key: score for score in arm_scores(runs, baselines, 6) if score.arm == "mrd"}
    for found in (score for score in by_class if score.arm == "mrd"):
        assert found.difference == expected[found.key].difference
    assert expected["zero_shot_top1"].difference != alone["zero_shot_top1"].difference

    monkeypatch.setattr(class_intervals, "ARMS", tmp_path / "arms.parquet")
    monkeypatch.setattr(
        class_intervals, "read_classes", lambda: {s: class_of(s) for run in runs["mrd"].values() for s in run.ids}
    )
    class_intervals.main()
    printed = capsys.readouterr().out
    assert alone["zero_shot_top1"].excludes_zero and not expected["zero_shot_top1"].excludes_zero
    assert printed.startswith("mrd, zero-shot top-1") and "\n0 of 1 differences exclude 0 both ways\n" in printed
    # Among four classes, the right one is always among the first five.
    widths = [
        [of[key].difference.high - of[key].difference.low for of in (expected, alone)]
        for key in ("zero_shot_top1", "shape_to_image_recall_at_10")
    ]
    ratio = np.median([by_class / by_shape for by_class, by_shape in widths])
    assert f"intervals are {ratio:.2f} times as wide by class, median of 2\n" in printed


def test_no_arm_is_left_out_of_the_page():
    blocks = re.findall(r"<!-- arms: model_cards/evidence/arms\.parquet (.*?) -->", PAGE.read_text())
    patterns = " ".join(blocks).split()
    arms = {name for name, arm in read_ablation("arms").arms.items() if arm.baseline is not None}
    assert {name for name in arms if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    rows = set(re.findall(r"^\| (\S+) \| \d", PAGE.read_text(), flags=re.MULTILINE))
    assert arms - rows == set(), "python scripts/evidence/evidence_tables.py fills the page"
    assert [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in arms)] == []
