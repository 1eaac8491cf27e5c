"""Which runs an ablation has, what each is told, and what its recipe may not say. No process is started."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mrd_hf.errors import UserError
from mrd_hf.training.ablation.planning import (
    evaluate_argv,
    fingerprint,
    plan_runs,
    pretrain_recipe,
    share_of,
)
from mrd_hf.training.ablation.recipe import ABLATIONS, ablation_names, joined, read_ablation
from mrd_hf.training.ablation.step_time import cost_key, expected_duration, expected_seconds
from mrd_hf.training.arguments import mapping_to_argv, parse_arguments
from mrd_hf.training.model_building import build_model


RECIPE = """
dataset: data/here
class_texts: texts.parquet
splits: [0, 3]
seeds: [1, 2]
baseline: plain
pretrain:
  num_train_steps: 10
  per_device_batch_size: 4
  point_config: {hidden_size: 32, num_attention_heads: 2}
  mrd_config: {relation_weight: 0.3}
arms:
  plain: {pretrain: {mrd_config: {loss: contrastive}}}
  mrd: {curve: {axis: weight, at: 0.3}}
  heavy: {pretrain: {mrd_config: {relation_weight: 2}, num_train_steps: 20}, curve: {axis: weight, at: 2}}
  noisy: {data: {wrong_images: 0.3}, baseline: mrd}
"""


def written(tmp_path: Path, text: str = RECIPE) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    return file


@pytest.fixture
def recipe(tmp_path):
    return read_ablation(written(tmp_path))


def test_every_arm_meets_every_split_and_seed_once_pair_by_pair(recipe):
    runs = [(run.arm.name, run.split, run.seed) for run in plan_runs(recipe)]
    arms = ["plain", "mrd", "heavy", "noisy"]
    assert runs == [(arm, split, seed) for split in (0, 3) for seed in (1, 2) for arm in arms]
    assert [run.arm.name for run in plan_runs(recipe, ["h*", "mrd"])] == ["mrd", "heavy"] * 4
    with pytest.raises(UserError, match="no such arm; there are plain, mrd"):
        plan_runs(recipe, ["m"])


@given(st.integers(1, 30))
def test_shards_cover_everything_once_and_a_split_and_seed_is_of_one(num_shards):
    recipe = read_ablation("main")
    runs = plan_runs(recipe)
    shares = [share_of(runs, index, num_shards) for index in range(num_shards)]
    names = Counter(run.name for share in shares for run in share)
    assert names == Counter(run.name for run in runs) and set(names.values()) == {1}
    places = [{(run.split, run.seed) for run in share} for share in shares]
    assert sum(map(len, places)) == 25 and max(map(len, places)) - min(map(len, places)) <= 1
    # Some arms alone are of the same machines, so they meet those that were run before.
    for index, share in enumerate(shares):
        mine = [run.name for run in share if run.arm.name == "mrd"]
        assert [run.name for run in share_of(plan_runs(recipe, ["mrd"]), index, num_shards)] == mine


@pytest.mark.parametrize(("index", "count"), [(2, 2), (5, 1)])
def test_a_shard_that_is_none(index, count):
    with pytest.raises(UserError, match="--shard-index"):
        share_of(plan_runs(read_ablation("main")), index, count)


def test_arms_differ_from_each_other_in_what_they_say_alone(recipe, tmp_path):
    runs = {run.arm.name: run for run in plan_runs(recipe) if (run.split, run.seed) == (3, 2)}
    told = {name: pretrain_recipe(run, recipe, tmp_path, 1) for name, run in runs.items()}
    assert told["mrd"] == {
        "num_train_steps": 10,
        "per_device_batch_size": 4,
        "point_config": {"hidden_size": 32, "num_attention_heads": 2},
        "mrd_config": {"relation_weight": 0.3},
        "dataset": str(tmp_path / "data/split-3"),
        "output_dir": str(tmp_path / "runs/mrd/split-3/seed-2/pretrain"),
        "seed": 2,
        "cpu_threads": 1,
    }
    assert told["plain"]["mrd_config"] == {"relation_weight": 0.3, "loss": "contrastive"}
    assert told["heavy"]["mrd_config"] == {"relation_weight": 2} and told["heavy"]["num_train_steps"] == 20
    assert told["noisy"]["dataset"] == str(tmp_path / "data/split-3-wrong_images-0.3")
    for name in ("plain", "noisy"):
        same = {key for key in told[name] if told[name][key] == told["mrd"][key]}
        assert set(told[name]) - same <= {"mrd_config", "dataset", "output_dir"}
    for recipe_of_run in told.values():
        parse_arguments(mapping_to_argv(recipe_of_run, "the run"))


def test_initial_weights_are_those_of_the_seed_in_every_arm(recipe, tmp_path):
    """Whatever the loss has of its own."""
    weights = []
    for run in plan_runs(recipe)[:4]:
        _, model, training = parse_arguments(mapping_to_argv(pretrain_recipe(run, recipe, tmp_path, 1), "it"))
        torch.manual_seed(training.seed)
        weights.append(build_model(model, 12, "a-teacher").point_bert.state_dict())
    for other in weights[1:]:
        assert other.keys() == weights[0].keys()
        assert all(torch.equal(other[name], weights[0][name]) for name in other)


def test_scores_on_the_way_are_of_the_validation_names(tmp_path):
    recipe = read_ablation(
        written(tmp_path, RECIPE.replace("num_train_steps: 10", "num_train_steps: 10\n  eval_steps: 5"))
    )
    told = pretrain_recipe(plan_runs(recipe)[0], recipe, tmp_path, 1)
    assert told["eval_split"] == "validation" and told["class_texts"] == str(
        tmp_path / "data/split-0/class_texts.parquet"
    )


def test_evaluation_is_of_the_split_that_is_asked_for(recipe, tmp_path):
    run = plan_runs(recipe)[1]
    for split in ("validation", "test"):
        argv = evaluate_argv(run, recipe, tmp_path, 2, split)
        assert argv[argv.index("--split") + 1] == split
        assert argv[argv.index("--output") + 1] == str(tmp_path / "runs/mrd/split-0/seed-1" / split)
        assert argv[argv.index("--cpu-threads") + 1] == "2" and "--linear-probe" not in argv


def test_a_fingerprint_is_of_all_that_changes_the_result(recipe, tmp_path):
    run = plan_runs(recipe)[1]
    known = fingerprint(run, recipe, "ids", 1)
    assert known == fingerprint(plan_runs(recipe)[1], recipe, "ids", 1)
    others = [fingerprint(run, recipe, "other ids", 1), fingerprint(run, recipe, "ids", 2)]
    others.append(fingerprint(run, recipe, "ids", 1, "cuda"))
    others += [fingerprint(other, recipe, "ids", 1) for other in (plan_runs(recipe)[3], plan_runs(recipe)[5])]
    changed = read_ablation(written(tmp_path, RECIPE.replace("0.3}\narms", "0.4}\narms")))
    others.append(fingerprint(plan_runs(changed)[1], changed, "ids", 1))
    assert known not in others and len(set(others)) == len(others)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dataset: data/here", "datasets: data/here", "unknown key 'datasets'"),
        ("dataset: data/here", "", "the key 'dataset' is missing"),
        ("splits: [0, 3]", "splits: [0, 0]", "splits: must be a list of different whole numbers"),
        ("seeds: [1, 2]", "seeds: 3", "seeds: must be a list"),
        ("baseline: plain", "baseline: simple", "the arm 'plain': its baseline 'simple' is no arm"),
        ("  plain:", "  p/lain:", "is the name of a folder too"),
        ("{loss: contrastive}", "{losses: contrastive}", "the arm 'plain': mrd_config: unknown key 'losses'"),
        ("{loss: contrastive}", "{loss: none}", "the arm 'plain'"),
        ("num_train_steps: 20", "num_train_step: 20", "the arm 'heavy': pretrain: unknown key 'num_train_step'"),
        ("num_train_steps: 20", "seed: 20", "the arm 'heavy': 'seed' is not for an arm to set"),
        ("num_train_steps: 10", "seed: 10", "pretrain: 'seed' is not for an ablation's"),
        ("num_train_steps: 10", "train_split: test", "pretrain: 'train_split' is not for an ablation's"),
        ("num_train_steps: 10", "push_to_hub: true", "pretrain: 'push_to_hub' is not for an ablation's"),
        ("num_train_steps: 10", "overwrite_output_dir: true", "pretrain: 'overwrite_output_dir' is not for an a"),
        ("wrong_images: 0.3", "wrong_images: 3", "the arm 'noisy': --wrong-images"),
        ("wrong_images: 0.3", "wrong_images: '0.3'", "the arm 'noisy': data: wrong_images is '0.3'; give a number"),
        ("at: 2}", "at: high}", "the arm 'heavy': curve: at is 'high'; give a number"),
        ("at: 2}", "at: null}", "curve: at is None; give a number"),
        ("wrong_images: 0.3", "wrong_images: 1e-1", "give a number, of which YAML knows 1.0e-4 and not 1e-4"),
        ("class_texts: texts.parquet", "linear_probe: true", "linear_probe needs class_texts"),
        ("wrong_images: 0.3", "wrong_image: 3", "unknown key 'wrong_image'; did you mean 'wrong_images'"),
        ("at: 2}", "from: 2}", "unknown key 'from'"),
        ("axis: weight, at: 2", "axis: weight", "curve needs 'axis' and 'at'"),
        ("at: 2}", "at: 0.30}", "the arm 'heavy': has the place of 'mrd' on the curve: axis 'weight', at 0.3"),
    ],
)
def test_mistakes_in_a_recipe_name_the_file_and_the_arm(tmp_path, old, new, message):
    assert old in RECIPE
    with pytest.raises(UserError) as told:
        read_ablation(written(tmp_path, RECIPE.replace(old, new)))
    assert message in str(told.value) and str(tmp_path / "recipe.yaml") in str(told.value)


def test_numbers_as_yaml_has_them(tmp_path):
    text = RECIPE.replace("at: 2}", "at: 1e-4}").replace("wrong_images: 0.3", "wrong_images: 0.3, teacher_width: null")
    assert text != RECIPE
    recipe = read_ablation(written(tmp_path, text))
    assert recipe.arms["heavy"].curves[0].at == 1e-4 and recipe.arms["noisy"].changes.teacher_width is None


BASE = """
point_config: {hidden_size: 48, num_attention_heads: 3}
mrd_config: {relation_weight: 2}
augmentation: {shift: 0.05, scale_min: 0.7}
text_weights: {name: 1}
num_train_steps: 7
"""
CHANGED = """
config: {base}
mrd_config: {{}}
point_config: {{model_type: uni3d, hidden_size: 32, num_attention_heads: 2}}
augmentation: {{scale_min: 0.5}}
text_weights: {{caption: 1}}
"""


def test_the_common_recipe_builds_on_another_one_as_those_of_pretrain_do(tmp_path):
    base, changed = tmp_path / "base.yaml", tmp_path / "changed.yaml"
    base.write_text(BASE)
    changed.write_text(CHANGED.format(base=base))
    told = {"dataset": "data", "splits": [0], "seeds": [0], "arms": {"plain": {}}}
    told["pretrain"] = yaml.safe_load(changed.read_text())
    recipe = read_ablation(written(tmp_path, yaml.safe_dump(told, sort_keys=False)))
    rest = ["--dataset=data", "--output-dir=out"]
    ours = parse_arguments([*mapping_to_argv(recipe.arms["plain"].pretrain, "the arm"), *rest])
    theirs = parse_arguments(["--config", str(changed), *rest])
    assert [vars(group) for group in ours] == [vars(group) for group in theirs]
    assert ours[2].num_train_steps == 7 and json.loads(ours[0].augmentation) == {"shift": 0.05, "scale_min": 0.5}


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "b")])
def test_a_base_that_leads_back_to_itself(tmp_path, first, second):
    for name, base in ((first, second), (second, first)):
        (tmp_path / f"{name}.yaml").write_text(f"config: {tmp_path / base}.yaml\n")
    with pytest.raises(UserError, match=r"recipe\.yaml: pretrain: .*a\.yaml: its key 'config' leads back to itself"):
        read_ablation(written(tmp_path, RECIPE.replace("num_train_steps: 10", f"config: {tmp_path / first}.yaml")))


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="the package has .*main"):
        read_ablation(tmp_path / "none.yaml")


def test_joining_goes_into_mappings_and_replaces_the_rest():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert joined(base, {"a": {"c": [3]}, "d": None}) == {"a": {"b": 1, "c": [3]}, "d": None}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


@pytest.mark.parametrize("name", ablation_names())
def test_recipes_of_the_package_are_whole(name):
    recipe = read_ablation(name)
    content = yaml.safe_load((ABLATIONS / f"{name}.yaml").read_text())
    assert list(recipe.arms) == list(content["arms"])
    assert recipe.arms["contrastive"].baseline is None and recipe.arms["contrastive"].pretrain["mrd_config"]["loss"]
    # What is the demo's in all arms, in spite of the keys that one changes.
    assert all(arm.pretrain["point_config"]["patch_radius"] for arm in recipe.arms.values())
    told = [json.dumps([arm.pretrain, vars(arm.changes)], sort_keys=True) for arm in recipe.arms.values()]
    assert len(set(told)) == len(told), "two arms are the same"


def test_the_main_comparison_has_25_pairs():
    runs = plan_runs(read_ablation("main"))
    assert Counter(run.arm.name for run in runs) == {"contrastive": 25, "mrd": 25}
    assert len({(run.split, run.seed) for run in runs}) == 25


def test_steps_cost_as_much_however_the_loss_is_written(recipe, tmp_path):
    """Null is for the default, and a mapping may be JSON, as on the command line."""
    text = RECIPE.replace("{loss: contrastive}", '\'{"loss": "contrastive"}\'').replace("{relation_weight: 2}", "null")
    expected = [cost_key(run) for run in plan_runs(recipe)[:4]]
    assert [cost_key(run) for run in plan_runs(read_ablation(written(tmp_path, text)))[:4]] == expected


def test_expected_times_by_hand(recipe):
    runs = plan_runs(recipe)[:4]  # plain, mrd, heavy, noisy
    steps = {cost_key(run): 2.0 for run in runs}
    assert len(steps) == 2  # with and without relations
    # mrd by the median of its finished runs; the others 10, 20 and 10 steps of 2 s, and 40 s besides.
    assert expected_seconds(runs, {"mrd": [100.0, 300.0, 110.0]}, steps) == [60.0, 110.0, 80.0, 60.0]
    # Two at a time: 60 and 110; 80 begins at 60 and ends at 140; the last 60 begins at 110 and ends at 170.
    assert expected_duration([60, 110, 80, 60], 2) == 170
    assert expected_duration([60, 110, 80, 60], 1) == 310 and expected_duration([], 2) == 0
