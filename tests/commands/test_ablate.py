"""`mrd-hf ablate`: one real ablation of two arms, of tiny encoders and a few steps; the rest without training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate import Accelerator
from support.tiny_triplets import save_tiny_triplets

from mrd_hf.commands import ablate, evaluate, pretrain
from mrd_hf.errors import UserError
from mrd_hf.evaluation.ablation.arm_scores import read_outcomes
from mrd_hf.training.ablation import step_time
from mrd_hf.training.ablation.running import Job, Outcome
from mrd_hf.training.ablation.status import Status, code_digest, read_status
from mrd_hf.training.pretraining import Pretraining


RECIPE = """
dataset: {data}
class_texts: {data}/class_texts.parquet
splits: [0]
seeds: [4]
baseline: contrastive
pretrain:
  num_points: 64
  num_train_steps: 4
  per_device_batch_size: 8
  warmup_steps: 1
  logging_steps: 1
  save_steps: 2
  num_workers: 0
  point_config:
    {{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, num_patches: 8,
     patch_radius: 0.4, patch_size: 8, patch_feature_size: 16}}
arms:
  contrastive: {{pretrain: {{mrd_config: {{loss: contrastive}}}}, curve: {{axis: relation weight, at: 0}}}}
  mrd: {{pretrain: {{eval_steps: 2}}, curve: {{axis: relation weight, at: 0.3}}}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    data = save_tiny_triplets(folder / "tiny", train=60)
    (data / "data" / "test-00000-of-00001.parquet").unlink()  # it has the ids of train
    file = folder / "recipe.yaml"
    file.write_text(RECIPE.format(data=data))
    return file


@pytest.fixture(scope="module")
def out(recipe) -> Path:
    """A real one: one arm in processes, as it is; the other by the same commands in this process, to be quick."""
    folder = recipe.parent / "out"
    command = ["--config", str(recipe), "--output", str(folder)]
    ablate.main([*command, "--only", "mrd"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablate, "run_jobs", run_here)
        ablate.main(command)
    return folder


def run_here(jobs: list[Job], *_) -> Outcome:
    for job in jobs:
        for stage in job.stages:
            if stage.name not in job.status.seconds:
                name, *arguments = stage.command[len(ablate.ATTENDED) :]
                {"pretrain": pretrain, "evaluate": evaluate}[name].main(arguments)
                job.status.seconds[stage.name] = 1.0
                job.status.save(job.folder)
    return Outcome()


def test_a_table_of_real_runs(out):
    table = json.loads((out / "table.json").read_text())
    assert table["num_runs"] == table["num_planned"] == 2 and table["num_failed"] == 0 and table["hours"] > 0
    rows = {(row["arm"], row["key"]): row for row in table["scores"]}
    for arm in ("contrastive", "mrd"):
        folder = out / "runs" / arm / "split-0" / "seed-4"
        report = json.loads((folder / "validation" / "report.json").read_text())
        assert report["benchmark"]["split"] == "validation"
        for metric in report["metrics"]:
            if metric["statistic"] == "mean":
                assert rows[arm, metric["key"]]["mean"] == metric["value"]
        assert (folder / "pretrain" / "encoder" / "model.safetensors").is_file()
        assert arm != "mrd" or not list((folder / "pretrain").glob("checkpoint-*"))
        assert set(read_status(folder).seconds) == {"pretrain", "validation"}
    found = rows["mrd", "shape_to_image_recall_at_5"]
    assert found["num_pairs"] == 1 and found["baseline"] == "contrastive"
    text = (out / "table.md").read_text()
    assert "**validation** names" in text and "| mrd | 1 |" in text and "## shape to image, recall at 1\n" in text
    assert {file.name for file in out.glob("*.png")} == {"courses.png", "differences.png", "curve-relation_weight.png"}
    assert not list(out.glob("test-*"))


def test_a_run_is_what_the_two_commands_by_hand_give(out, tmp_path, monkeypatch):
    threads = []
    monkeypatch.setattr(evaluate, "set_cpu_threads", threads.append)
    folder = out / "runs" / "mrd" / "split-0" / "seed-4"
    pretrain.main(["--config", str(folder / "recipe.yaml"), "--output-dir", str(tmp_path / "mrd")])
    data = out / "data" / "split-0"
    evaluate.main(
        ["--model", str(tmp_path / "mrd" / "encoder"), "--dataset", str(data), "--split", "validation"]
        + ["--class-texts", str(data / "class_texts.parquet"), "--output", str(tmp_path / "scores")]
        + ["--cpu-threads", "1"]
    )
    ours, by_hand = read_outcomes(folder / "validation"), read_outcomes(tmp_path / "scores")
    assert ours.values == by_hand.values and ours.ids == by_hand.ids and threads == [1]
    weights = [f / "encoder" / "model.safetensors" for f in (folder / "pretrain", tmp_path / "mrd")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_same_command_again_runs_nothing(out, recipe, capsys):
    times = {file: file.stat().st_mtime_ns for file in (out / "runs").rglob("*") if file.is_file()}
    ablate.main(["--config", str(recipe), "--output", str(out)])
    shown = {file: file.stat().st_mtime_ns for file in (out / "runs").rglob("*") if file.is_file()}
    assert {f for f in shown if shown[f] != times.get(f)} == set()
    assert "2 of 2 runs" in capsys.readouterr().out


def test_the_recipe_in_the_output_folder_resumes_it(out, capsys):
    """Also by another path to the same file."""
    recipe = (out / "recipe.yaml").read_text()
    for folder in (out, out / "runs" / ".."):
        ablate.main(["--config", str(folder / "recipe.yaml"), "--output", str(out)])
        assert "written: " in capsys.readouterr().out and (out / "recipe.yaml").read_text() == recipe


def test_the_test_names_need_no_further_training(out, recipe):
    """And the training names are the same, whichever names are scored."""
    read = ablate.read_ablation(recipe)
    runs = ablate.plan_runs(read)
    divisions = {run.division: ablate.prepare_division(run.division, read, out) for run in runs}
    for split, todo in (("test", ["test"]), ("validation", [])):
        for job in ablate.make_jobs(runs, read, out, 1, split, divisions):
            assert [stage.name for stage in job.stages if stage.name not in job.status.seconds] == todo
            scored = job.stages[1].command
            assert scored[scored.index("--split") + 1] == split


def test_dry_run_of_what_is_done_and_of_what_is_not(out, recipe, capsys):
    ablate.main(["--config", str(recipe), "--output", str(out), "--dry-run"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 runs, 0 to do")
    # On the test names both are to be done. They are trained, however long that took or was interrupted, so only an
    # evaluation each is left.
    files = sorted((out / "runs").rglob("status.json"))
    before = [file.read_bytes() for file in files]
    for file, trained in zip(files, (7200.0, None), strict=True):
        replace(read_status(file.parent), seconds={"pretrain": trained, "validation": 720.0}).save(file.parent)
    ablate.main(["--config", str(recipe), "--output", str(out), "--dry-run", "--test", "--jobs", "2"])
    for file, content in zip(files, before, strict=True):
        file.write_bytes(content)
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs, 2 to do, 2 at a time: 0.20 hours expected"


def test_dry_run_measures_steps_where_nothing_is_known_and_writes_nothing(recipe, tmp_path, capsys):
    ablate.main(["--config", str(recipe), "--output", str(tmp_path / "new"), "--dry-run", "--only", "mrd"])
    shown = capsys.readouterr()
    assert "mrd: " in shown.err and "s a step, measured now" in shown.err
    assert shown.out.splitlines()[-1].startswith("1 runs, 1 to do")
    assert not (tmp_path / "new").exists()


def test_dry_run_measures_arms_of_other_precisions_one_after_the_other(recipe, tmp_path, capsys, monkeypatch):
    """In one process, for which accelerate and torch have one setting each."""

    def with_tf32(*given, **named):
        torch.backends.cuda.matmul.allow_tf32 = True  # as an arm with tf32 does on a GPU
        return Pretraining(*given, **named)

    monkeypatch.setattr(step_time, "Pretraining", with_tf32)
    other = tmp_path / "other.yaml"
    other.write_text(recipe.read_text().replace("{eval_steps: 2}", "{mixed_precision: bf16, mrd_config: null}"))
    ablate.main(["--config", str(other), "--output", str(tmp_path / "new"), "--dry-run"])
    measured = [line.split(":")[0] for line in capsys.readouterr().err.splitlines() if line.endswith("measured now")]
    assert measured == ["contrastive", "mrd"]
    tf32, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    assert not tf32
    assert Accelerator(mixed_precision="no").mixed_precision == "no"  # which raises where another one is still set


def test_a_recipe_that_changed_does_not_mix_with_runs_that_are_there(out, recipe, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(recipe.read_text().replace("num_train_steps: 4", "num_train_steps: 5"))
    with pytest.raises(UserError, match="has a run of other settings"):
        ablate.main(["--config", str(other), "--output", str(out)])
    other.write_text(recipe.read_text() + "test_share: 0.4\n")
    with pytest.raises(UserError, match=r"was made with test_share 0\.3"):
        ablate.main(["--config", str(other), "--output", str(out)])
    assert (out / "recipe.yaml").read_text() == recipe.read_text()  # of the runs that are there


def test_data_that_were_divided_before_a_change_are_not_gone_on_with(recipe, tmp_path):
    data = shutil.copytree(recipe.parent / "tiny", tmp_path / "tiny")
    labels = tmp_path / "labels.csv"
    rows = pq.read_table(data / "data" / "train-00000-of-00001.parquet").select(["id", "category"]).to_pylist()
    labels.write_text("id,label\n" + "".join(f"{row['id']},{row['category']}\n" for row in rows))
    own = tmp_path / "own.yaml"
    own.write_text(f"labels: {labels}\n" + RECIPE.format(data=data))
    read, out = ablate.read_ablation(own), tmp_path / "out"
    division = ablate.plan_runs(read)[0].division
    before = ablate.prepare_division(division, read, out)
    assert ablate.prepare_division(division, read, out) == before

    def changed_since(file):
        with pytest.raises(UserError, match=f"split-0: was made before {file} was changed, and so were the runs"):
            ablate.prepare_division(division, read, out)

    text = labels.read_text()
    labels.write_text(text.replace(f"{rows[0]['id']},{rows[0]['category']}", f"{rows[0]['id']},"))
    changed_since(labels)
    shutil.rmtree(out / "data")  # as one may: but then the runs that are there are of other data
    assert ablate.prepare_division(division, read, out) != before
    labels.write_text(text)
    shutil.rmtree(out / "data")
    assert ablate.prepare_division(division, read, out) == before
    file = data / "data" / "train-00000-of-00001.parquet"
    table = pq.read_table(file)
    others = pa.array(["another-teacher"] * len(table))
    pq.write_table(table.set_column(table.column_names.index("teacher"), "teacher", others), file)
    changed_since(data)


def test_class_texts_without_a_labelled_shape_are_refused_before_anything_is_trained(recipe, tmp_path):
    read = ablate.read_ablation(recipe)
    (run, *_) = ablate.plan_runs(read)
    ablate.prepare_division(run.division, read, tmp_path)
    report = tmp_path / "data" / run.division.name / ablate.REPORT_FILE
    made = json.loads(report.read_text())
    assert made["labeled"]["validation"] > 0
    report.write_text(json.dumps(made | {"labeled": made["labeled"] | {"validation": 0}}))
    with pytest.raises(UserError, match="no shape of its validation or test part has a category"):
        ablate.prepare_division(run.division, read, tmp_path)


def test_a_table_mixes_no_runs_of_other_settings_data_or_threads(out, recipe, tmp_path):
    table = ["--output", str(out), "--table-only"]
    other = tmp_path / "other.yaml"
    other.write_text(recipe.read_text().replace("num_train_steps: 4", "num_train_steps: 5"))
    with pytest.raises(UserError, match="has a run of other settings"):
        ablate.main(["--config", str(other), *table])
    read = ablate.read_ablation(recipe)
    (run, _) = ablate.plan_runs(read)
    status = read_status(run.folder(out))
    data = ablate.prepare_division(run.division, read, out)
    try:
        Status(ablate.fingerprint(run, read, data, 2), status.seconds, threads=2).save(run.folder(out))
        with pytest.raises(UserError, match=r"other numbers of --threads .*seed 4 with (1|2), .* with (1|2)\.$"):
            ablate.main(["--config", str(recipe), *table])
        Status(ablate.fingerprint(run, read, data, 1, "cuda"), status.seconds, device="cuda").save(run.folder(out))
        with pytest.raises(
            UserError, match=r"on other kinds of devices .*seed 4 with (cpu|cuda), .* with (cpu|cuda)\.$"
        ):
            ablate.main(["--config", str(recipe), *table])
    finally:
        status.save(run.folder(out))
    # Of CPUs of two kinds, both are in the table and no pair; where the kind of one is not known, they are one.
    other_run = ablate.plan_runs(read)[1]
    other_status = read_status(other_run.folder(out))
    try:
        for kind, pairs in (("AVX512", 0), (None, 1)):
            Status(**vars(status) | {"cpu": kind}).save(run.folder(out))
            Status(**vars(other_status) | {"cpu": "AVX2"}).save(other_run.folder(out))
            ablate.main(["--config", str(recipe), *table])
            made = json.loads((out / "table.json").read_text())
            assert made["num_runs"] == 2 and {s["num_pairs"] for s in made["scores"] if s["arm"] == "mrd"} == {pairs}
            text = (out / "table.md").read_text()
            told = "mrd, split 0, seed 4 on AVX2 and contrastive on AVX512"
            assert (told in text) == ("1 pair is left out" in text) == (pairs == 0)
    finally:
        status.save(run.folder(out))
        other_status.save(other_run.folder(out))
    report = out / "data" / run.division.name / "report.json"
    content = report.read_text()
    try:
        report.write_text(content.replace(data, "0" * 64))
        with pytest.raises(UserError, match="has a run of other settings, data"):
            ablate.main(["--config", str(recipe), *table])
        report.unlink()
        with pytest.raises(UserError, match=r"report\.json: does not say which shapes"):
            ablate.main(["--config", str(recipe), *table])
    finally:
        report.write_text(content)
    # The run that this process made in the other one's place has no version of the code noted.
    ablate.main(["--config", str(recipe), *table])
    assert json.loads((out / "table.json").read_text())["code"] == ["", code_digest()]
    assert "They were made with 2 versions of the code." in (out / "table.md").read_text()


def test_a_failure_is_listed_and_ends_with_1(out, recipe, monkeypatch, capsys):
    """A run whose process fails; of the other one the table is made all the same."""
    folder = out / "runs" / "mrd" / "split-0" / "seed-4"
    status = read_status(folder)
    Status(status.fingerprint, {"pretrain": 1.0}).save(folder)
    monkeypatch.setattr(ablate, "ATTENDED", ["sh", "-c", "echo no such luck; exit 7"])
    try:
        with pytest.raises(UserError, match="1 runs failed") as failed:
            ablate.main(["--config", str(recipe), "--output", str(out)])
        assert failed.value.exit_code == 1
        printed = capsys.readouterr().out
        assert "mrd, split 0, seed 4: validation failed" in printed and "no such luck" in printed
        table = json.loads((out / "table.json").read_text())
        assert table["num_runs"] == 1 and table["num_failed"] == 1
    finally:
        status.save(folder)


def test_shards_of_one_folder(recipe, tmp_path, monkeypatch):
    """Each takes all arms of its seeds and no others, so that pairs are of one machine; the third finds nothing."""
    monkeypatch.setattr(ablate, "ATTENDED", ["sh", "-c", "exit 7"])
    two = tmp_path / "two.yaml"
    two.write_text(recipe.read_text().replace("seeds: [4]", "seeds: [4, 5]"))
    command = ["--config", str(two), "--output", str(tmp_path / "out"), "--num-shards", "3", "--shard-index"]
    expected = set()
    for index, seed in ((0, "seed-4"), (1, "seed-5")):
        with pytest.raises(UserError, match="2 runs failed"):
            ablate.main([*command, str(index)])
        expected |= {("contrastive", seed), ("mrd", seed)}
        folders = [file.parent for file in tmp_path.rglob("status.json")]
        assert {(folder.parent.parent.name, folder.name) for folder in folders} == expected
    ablate.main([*command, "2"])
    assert len(list(tmp_path.rglob("status.json"))) == 4


def test_the_table_alone(out, recipe, capsys):
    (out / "table.md").unlink()
    ablate.main(["--config", str(recipe), "--output", str(out), "--table-only"])
    assert (out / "table.md").is_file() and "written: " in capsys.readouterr().out


def test_a_table_of_some_shapes(out, recipe, tmp_path):
    (ids,) = {read_outcomes(folder).ids for folder in out.glob("runs/*/*/*/validation")}
    (tmp_path / "some.txt").write_text("\n".join(ids[:5]) + "\n")
    table = ["--config", str(recipe), "--output", str(out), "--table-only", "--shapes"]
    ablate.main([*table, str(tmp_path / "some.txt")])
    assert "Of the 5 shapes of some alone" in (out / "shapes-some-table.md").read_text()
    # Of a file that is called as a split is, the table has a name of its own too.
    (tmp_path / "test.txt").write_text(ids[0])
    ablate.main([*table, str(tmp_path / "test.txt")])
    assert (out / "shapes-test-table.md").is_file() and not (out / "test-table.md").exists()
    (tmp_path / "others.txt").write_text("of another dataset\n")
    with pytest.raises(UserError, match="--shapes others: none of its ids"):
        ablate.main([*table, str(tmp_path / "others.txt")])
    for text, message in (("\n", "has no ids"), (None, "cannot be read")):
        file = tmp_path / f"{message}.txt"
        if text is not None:
            file.write_text(text)
        with pytest.raises(UserError, match=message):
            ablate.main([*table, str(file)])


def test_a_table_against_another_arm(out, recipe):
    ablate.main(["--config", str(recipe), "--output", str(out), "--table-only", "--against", "mrd"])
    rows, others = (
        {(row["arm"], row["key"]): row["difference"] for row in json.loads((out / name).read_text())["scores"]}
        for name in ("against-mrd-table.json", "table.json")
    )
    key = "shape_to_image_recall_at_5"
    assert rows["mrd", key] is None
    assert rows["contrastive", key]["difference"] == -others["mrd", key]["difference"]
    with pytest.raises(UserError, match="--against plain: no such arm"):
        ablate.main(["--config", str(recipe), "--output", str(out), "--table-only", "--against", "plain"])
