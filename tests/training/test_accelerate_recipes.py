"""The recipes for accelerate: accelerate knows every key, and the commands in them train on two CPU processes."""

import json
import socket
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from pretrain_runs import ENVIRONMENT, RECIPE, command
from safetensors import safe_open
from safetensors.torch import load_file
from support.forked_processes import ForkedCommand
from support.launched import run_as_launched
from support.paths import ROOT
from support.processes_together import wait_for_all
from support.tiny_triplets import save_tiny_triplets
from transformers import AutoFeatureExtractor, AutoModel

from mrd_hf.data.loading import load_triplets
from mrd_hf.evaluation.encoding import encode_dataset
from mrd_hf.training.recipe_files import ACCELERATE_RECIPES
from mrd_hf.training.training_log import read_log


ACCELERATE = Path(sys.executable).with_name("accelerate")
FOLDER = ROOT / "scripts" / "recipes" / "accelerate"
TWO_STEPS = ("--num_train_steps", "2", "--per_device_batch_size", "4")
RECIPES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def test_all_recipes_are_here():
    assert RECIPES == ["ddp.yaml", "ddp_two_nodes.yaml", "deepspeed_zero2.yaml", "fsdp2.yaml", "one_process.yaml"]


def test_those_of_a_clone_are_the_packages():
    for name in RECIPES:
        assert yaml.safe_load((FOLDER / name).read_text()) == yaml.safe_load((ACCELERATE_RECIPES / name).read_text())
    assert [file.name for file in sorted(ACCELERATE_RECIPES.iterdir())] == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_accelerate_knows_every_key(name):
    """Its loader refuses unknown keys at the top, and silently takes those of the sections."""
    load_config_from_file(str(FOLDER / name))
    parser = launch_command_parser()
    known = {action.dest for action in parser._actions}
    recipe = yaml.safe_load((FOLDER / name).read_text())
    for section in ("fsdp_config", "deepspeed_config"):
        assert recipe.get(section, {}).keys() <= known, section
    assert recipe["mixed_precision"] == "no"  # the script's argument decides


@pytest.mark.parametrize("name", ["ddp.yaml", "ddp_two_nodes.yaml", "deepspeed_zero2.yaml", "fsdp2.yaml"])
def test_accelerate_starts_what_the_recipe_says(name):
    arguments = ["--config_file", str(FOLDER / name), "--main_process_ip", "10.0.0.1", "script.py"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert args.multi_gpu == name.startswith("ddp")
    assert args.use_fsdp == name.startswith("fsdp2")
    assert args.use_deepspeed == name.startswith("deepspeed")
    assert args.num_processes == 8 * args.num_machines
    environment = prepare_multi_gpu_env(args)
    if args.num_machines == 2:
        assert (args.nnodes, args.nproc_per_node, args.node_rank) == ("2", "8", 0)
        assert args.rdzv_endpoint == "10.0.0.1:29500"
    assert (environment.get("ACCELERATE_USE_FSDP") == "true") == args.use_fsdp


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    data = save_tiny_triplets(folder / "tiny")
    path = folder / "tiny.yaml"
    path.write_text(f"dataset: {data}\nclass_texts: {data / 'class_texts.parquet'}\n{RECIPE}eval_steps: 1\n")
    return path


@pytest.fixture(scope="module")
def fsdp2_run(recipe) -> Path:
    """Two processes, and then one that resumes."""
    output_dir = recipe.parent / "fsdp2"
    run_as_launched("fsdp2.yaml --num_processes 2", command(recipe, output_dir, *TWO_STEPS), ENVIRONMENT)
    (output_dir / "encoder").rename(output_dir / "encoder-of-two")
    more = ("--num_train_steps", "4", "--resume_from_checkpoint", "latest")
    run_as_launched("fsdp2.yaml --num_processes 1", command(recipe, output_dir, *more), ENVIRONMENT)
    return output_dir


def joined_shards(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of a sharded checkpoint, put together by where their headers say that they belong."""
    parts: dict[str, list[tuple[list[int], torch.Tensor]]] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            places = json.loads(file.metadata()["DCP_SHARDING_INFO"])
            for name in file.keys():  # noqa: SIM118 (no mapping)
                if name.startswith(prefix):
                    parts.setdefault(name.removeprefix(prefix), []).append((places[name], file.get_tensor(name)))
    return {
        name: pieces[0][1]
        if pieces[0][1].ndim == 0
        else torch.cat([piece for _, piece in sorted(pieces, key=lambda part: part[0]["saved_offsets"])])
        for name, pieces in parts.items()
    }


@pytest.mark.parametrize(("encoder", "step"), [("encoder-of-two", 2), ("encoder", 4)])
def test_fsdp2_exports_the_moving_average_whole(fsdp2_run, encoder, step):
    shards = fsdp2_run / f"checkpoint-{step}/shards"
    expected = joined_shards(shards, "average.module.point_bert.")
    exported = load_file(fsdp2_run / encoder / "model.safetensors")
    assert exported.keys() == expected.keys()
    for name, tensor in exported.items():
        assert torch.equal(tensor, expected[name]), name


def test_fsdp2_leaves_one_ordinary_folder(fsdp2_run, recipe):
    found = {p.name for p in (fsdp2_run / "encoder").iterdir() if p.suffix != ".py"}
    assert found == {"README.md", "config.json", "images", "model.safetensors", "preprocessor_config.json"}
    model = AutoModel.from_pretrained(fsdp2_run / "encoder")
    extractor = AutoFeatureExtractor.from_pretrained(fsdp2_run / "encoder")
    dataset = load_triplets(recipe.parent / "tiny", "test")
    evaluated = load_file(fsdp2_run / "evaluation" / "point_embeds.safetensors")["point_embeds"]
    torch.testing.assert_close(encode_dataset(model, extractor, dataset), evaluated, atol=1e-6, rtol=1e-5)


def test_fsdp2_evaluates_on_the_way_and_goes_on_with_one_process(fsdp2_run):
    log = read_log(fsdp2_run / "training_log.jsonl")
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in log if "eval/shape_to_image_recall_at_1" in line] == [1, 2, 3, 4]
    assert "(2 process(es))" in (fsdp2_run / "encoder-of-two" / "README.md").read_text()
    assert "(1 process(es))" in (fsdp2_run / "encoder" / "README.md").read_text()


def losses(output_dir: Path) -> list[float]:
    return [line["loss"] for line in read_log(output_dir / "training_log.jsonl") if "loss" in line]


def test_ddp_by_its_recipe_trains_as_fsdp2_does(fsdp2_run, recipe):
    output_dir = recipe.parent / "ddp"
    run_as_launched("ddp.yaml --num_processes 2", command(recipe, output_dir, *TWO_STEPS), ENVIRONMENT)
    assert losses(output_dir) == pytest.approx(losses(fsdp2_run)[:2], abs=1e-5)


def test_two_nodes_train_as_one_does(fsdp2_run, recipe):
    """Two launchers on this machine, a process each: the command of the recipe's comment, on either node."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    output_dir = recipe.parent / "nodes"
    config = ("--config_file", str(FOLDER / "ddp_two_nodes.yaml"), "--num_processes", "2")
    first = ("--main_process_ip", "127.0.0.1", "--main_process_port", port)
    words = command(recipe, output_dir, *TWO_STEPS)
    nodes = [
        ForkedCommand([ACCELERATE, "launch", *config, *first, "--machine_rank", rank, *words], env=ENVIRONMENT)
        for rank in (0, 1)
    ]
    problem = wait_for_all(nodes, timeout=300)
    assert problem is None, problem + "".join(node.stderr.read_text() for node in nodes)
    assert "(2 process(es))" in (output_dir / "encoder" / "README.md").read_text()
    assert losses(output_dir) == pytest.approx(losses(fsdp2_run)[:2], abs=1e-5)
