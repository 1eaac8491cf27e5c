"""Recipes and the command line: what wins, and what a mistake is told."""

import json
from pathlib import Path

import pytest
from support.paths import SCRIPTS

from mrd_hf.data.loaders.augmentation import AugmentationConfig
from mrd_hf.errors import UserError
from mrd_hf.models.configuration_mrd import MRDConfig
from mrd_hf.models.configuration_point_bert import PointBertConfig
from mrd_hf.training.arguments import as_recipe, parse_arguments
from mrd_hf.training.recipe_files import parse_config


REQUIRED = ["--dataset", "d", "--output_dir", "o"]


def recipe(tmp_path, text: str) -> list[str]:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return ["--config", str(path)]


def test_a_recipe_fills_in_the_arguments_and_the_command_line_overrides_it(tmp_path):
    argv = recipe(
        tmp_path,
        "dataset: d\noutput_dir: o\nlearning_rate: 1e-3\nseed: 5\nema_decay: null\nsync_batch_norm: true\n"
        "report_to: [tensorboard]\npoint_config: {hidden_size: 64}\n",
    )
    data, model, training = parse_arguments([*argv, "--seed", "7"])
    assert (data.dataset, training.output_dir, training.seed) == ("d", "o", 7)
    assert training.learning_rate == 1e-3
    assert training.ema_decay == 0.0
    assert training.sync_batch_norm is True
    assert training.report_to == ["tensorboard"]
    assert parse_config(model.point_config, "point_config", PointBertConfig) == {"hidden_size": 64}


def test_the_command_line_overrides_wherever_the_recipe_stands(tmp_path):
    argv = recipe(tmp_path, "dataset: d\noutput_dir: o\nseed: 5\n")
    assert parse_arguments(["--seed=7", *argv])[2].seed == 7
    assert parse_arguments([f"--config={argv[1]}"])[2].seed == 5


def test_an_unknown_key_is_named_with_the_closest_known_one(tmp_path):
    with pytest.raises(UserError, match=r"recipe.yaml: unknown key 'learning_rat'; did you mean 'learning_rate'\?"):
        parse_arguments(recipe(tmp_path, "learning_rat: 1\n"))


@pytest.mark.parametrize(("text", "message"), [("- a\n", "must be a YAML mapping"), ("a: [", "not valid YAML")])
def test_a_file_that_is_no_recipe(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        parse_arguments(recipe(tmp_path, text))


def test_a_recipe_is_in_utf_8_wherever_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").write_bytes("dataset: M\u00f6bel\noutput_dir: o\n".encode())
    # As on Windows, where the locale has another encoding.
    read_text = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, encoding="cp1252": read_text(self, encoding=encoding))
    assert parse_arguments(["--config", str(tmp_path / "recipe.yaml")])[0].dataset == "M\u00f6bel"
    (tmp_path / "recipe.yaml").write_bytes(b"# M\xf6bel\n")
    with pytest.raises(UserError, match=r"recipe\.yaml is no text in UTF-8; save it so"):
        parse_arguments(["--config", str(tmp_path / "recipe.yaml")])


def test_a_missing_recipe(tmp_path):
    with pytest.raises(UserError, match="cannot read the recipe .*none.yaml: No such file.*the package has demo"):
        parse_arguments(["--config", str(tmp_path / "none.yaml")])


def test_the_packages_recipe_by_its_name_is_the_clones_by_its_path(tmp_path, monkeypatch):
    expected = parse_arguments(["--config", str(SCRIPTS / "recipes" / "demo.yaml"), "--seed", "3"])
    monkeypatch.chdir(tmp_path)  # where there is nothing
    assert parse_arguments(["--config", "demo", "--seed", "3"]) == expected
    assert expected[0].dataset == "scripts/demo_data" and expected[2].seed == 3


def test_a_recipe_may_change_another(tmp_path):
    path = recipe(tmp_path, "config: demo\nnum_train_steps: 2\n")
    assert parse_arguments(path)[2].num_train_steps == 2
    assert parse_arguments(path)[0] == parse_arguments(["--config", "demo"])[0]
    (tmp_path / "itself.yaml").write_text(f"config: {tmp_path / 'itself.yaml'}\n")
    with pytest.raises(UserError, match=r"itself.yaml: its key 'config' leads back to itself"):
        parse_arguments(["--config", str(tmp_path / "itself.yaml")])


def point_config(argv):
    return json.loads(parse_arguments(argv)[1].point_config)


def test_changes_are_to_the_recipes(tmp_path):
    demo = point_config(["--config", "demo"])
    assert demo["hidden_size"] == 192 and demo["drop_path_rate"] == 0.1
    own = recipe(tmp_path, "config: demo\npoint_config: {drop_path_rate: 0.2}\ntext_towers: {my: tower}\n")
    assert point_config(own) == {**demo, "drop_path_rate": 0.2}
    assert json.loads(parse_arguments(own)[1].text_towers) == {"my": "tower"}  # which are no changes
    for words in (["--point-config", '{"patch_size": 8}'], ['--point_config={"patch_size": 8}']):
        assert point_config([*own, *words]) == {**demo, "drop_path_rate": 0.2, "patch_size": 8}
    # What replaces it.
    assert point_config([*own, "--point-config", "{}"]) == {}
    uni3d = '{"model_type": "uni3d", "hidden_size": 384}'
    assert point_config([*own, "--point-config", uni3d]) == json.loads(uni3d)
    more = [*own, "--point-config", uni3d, "--point-config", '{"num_patches": 16}']
    assert point_config(more) == {**json.loads(uni3d), "num_patches": 16}


def test_null_is_for_the_default_over_what_the_other_has(tmp_path):
    path = recipe(tmp_path, "config: demo\neval_steps: null\nnum_points: null\nreport_to: []\n")
    assert parse_arguments(["--config", "demo"])[2].eval_steps == 100
    data, _, training = parse_arguments(path)
    assert (data.num_points, training.eval_steps, training.report_to) == (None, None, [])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*REQUIRED, "--seed", "many"], r"seed: invalid int value: 'many'; --help lists the arguments\."),
        ([*REQUIRED, "--mixed_precision", "fp32"], "invalid choice: 'fp32'"),
        ([], "the following arguments are required: --dataset"),
        ([*REQUIRED, "--seed"], "seed: expected one argument"),
    ],
)
def test_a_mistake_is_one_message_without_the_usage(argv, message):
    with pytest.raises(UserError, match=message) as error:
        parse_arguments(argv)
    assert error.value.exit_code == 2 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--learning_rat", "1"], r"unrecognized argument: --learning_rat; did you mean --learning-rate\?"),
        (["--learning-rat=1"], r"unrecognized argument: --learning-rat; did you mean --learning-rate\?"),
        (["--per_device_train_batch_size", "8"], r"did you mean --per-device-batch-size\?"),
        (["--confg", "recipe.yaml"], r"did you mean --config\?"),
        (["--zzz", "1"], r"unrecognized argument: --zzz; --help lists the arguments\."),
        (["demo.yaml"], r"unrecognized argument: demo.yaml; --help lists the arguments\."),
    ],
)
def test_an_unknown_argument_is_named_with_the_closest_known_one(argv, message):
    with pytest.raises(UserError, match=message):
        parse_arguments([*REQUIRED, *argv])


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("num_train_steps", "0", "num_train_steps must be at least 1"),
        ("eval_steps", "0", "eval_steps must be at least 1"),
        ("encoder_batch_size", "0", "encoder_batch_size must be at least 1"),
        ("ema_decay", "1", "ema_decay must be in"),
        ("hard_negatives", "0", "hard_negatives must be at least 1"),
        ("shuffle_buffer", "0", "shuffle_buffer must be at least 1"),
        ("push_to_hub", "True", "push_to_hub needs hub_model_id"),
        ("num_points", "0", "num_points must be at least 1, got 0; leave it out"),
        ("prefetch_factor", "0", "prefetch_factor must be at least 1"),
        ("max_train_minutes", "-1", "max_train_minutes must be at least 0, got -1.0; leave it out"),
        ("profile", "0", "profile must be at least 1"),
        ("num_workers", "-1", r"num_workers must be at least 0, got -1\.$"),
        ("cpu_threads", "-1", "cpu_threads must be at least 1"),
        ("save_total_limit", "-1", "save_total_limit must be at least 0"),
        ("learning_rate", "-1", "learning_rate must be at least 0"),
        ("weight_decay", "nan", "weight_decay must be at least 0, got nan"),
        ("warmup_steps", "-1", "warmup_steps must be at least 0"),
        ("max_grad_norm", "0", "max_grad_norm must be above 0"),
        ("seed", "-1", "seed must be at least 0"),
        ("seed", "4294967296", "seed must be at most 4294967295"),
        ("teacher_revision", "main", "teacher_revision is one of teacher, which is not given"),
        ("class_texts", "c.parquet", "class_texts are for scores on eval_split, and none is given"),
    ],
)
def test_values_out_of_range(argument, value, message):
    with pytest.raises(UserError, match=message):
        parse_arguments([*REQUIRED, f"--{argument}", value])


@pytest.mark.parametrize(
    ("text", "config_class", "message"),
    [
        ('{"hiden_size": 1}', PointBertConfig, "point_config: unknown key 'hiden_size'; did you mean 'hidden_size'"),
        ('{"relation_wait": 1}', MRDConfig, "unknown key 'relation_wait'; did you mean 'relation_weight'"),
        ('{"zzz": 1}', AugmentationConfig, "known are point_dropout"),
        ("[1]", MRDConfig, "must be a mapping"),
        ("{", MRDConfig, "not valid JSON"),
        ("x" * 5000, MRDConfig, r"not valid JSON \(.{1,100}\): x{200}\.\.\.$"),
        (f"[{'1, ' * 5000}1]", MRDConfig, r"must be a mapping, got \[[1, ]{199}\.\.\.\.$"),
    ],
)
def test_mappings_are_checked(text, config_class, message):
    with pytest.raises(UserError, match=message):
        parse_config(text, "point_config", config_class)


@pytest.mark.parametrize("only_changed", [True, False])
def test_arguments_as_a_recipe_give_the_same_arguments(tmp_path, only_changed):
    given = ["--seed", "7", "--report_to", "tensorboard", "--streaming", "True", "--max_grad_norm", "1e-9"]
    mappings = ["--point_config", '{"hidden_size": 64, "grouping": "nearest"}', "--text_weights", '{"name": 0.5}']
    arguments = parse_arguments([*REQUIRED, *given, *mappings])
    text = as_recipe(arguments, only_changed)
    assert parse_arguments(recipe(tmp_path, text)) == arguments
    assert ("learning_rate" in text) is not only_changed and "point_config:\n  hidden_size: 64\n" in text


def test_class_texts_without_a_split_to_score_are_not_passed_over():
    with pytest.raises(UserError, match="class_texts are for scores on eval_split, and none is given"):
        parse_arguments([*REQUIRED, "--class_texts", "classes.parquet"])
    assert parse_arguments([*REQUIRED, "--class_texts", "c", "--eval_split", "test"])[0].class_texts == "c"
