"""The modules for `evaluate`: loaded by path, offline, filled in batches and by several processes."""

import doctest
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch

import mrd_hf
from mrd_hf.evaluation.scores.retrieval import retrieval_recall
from mrd_hf.evaluation.scores.zero_shot import zero_shot_classification


MODULES = Path(mrd_hf.__file__).parent / "evaluation" / "metrics"
NAMES = ("zero_shot_accuracy", "cross_modal_retrieval")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`evaluate.load` with its copies of modules and its data in a folder of the test's own."""
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", tmp_path / "modules")
    for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
        monkeypatch.delitem(sys.modules, name)
    return lambda name, **options: evaluate.load(str(MODULES / name), cache_dir=str(tmp_path / "data"), **options)


def test_load_in_a_new_process_without_the_hub(tmp_path):
    code = (
        "import sys, evaluate\n"
        "for path in sys.argv[1:]:\n"
        "    metric = evaluate.load(path)\n"
        "    print(metric.name, metric.module_type)\n"
        "metric.add_batch(predictions=[[1, 0]], references=[[1, 0]], keys=['a'])\n"
        "print(metric.compute(ks=(1,)))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    for variable in ("HF_MODULES_CACHE", "HF_EVALUATE_CACHE", "HF_METRICS_CACHE"):
        environment.pop(variable, None)
    command = [sys.executable, "-c", code, *(str(MODULES / name) for name in NAMES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "zero_shot_accuracy metric",
        "cross_modal_retrieval metric",
        "{'recall_at_1': 1.0, 'median_rank': 1.0, 'mean_average_precision': 1.0}",
    ]


@pytest.mark.parametrize("form", [list, np.asarray, torch.as_tensor])
def test_zero_shot_in_batches_is_the_pure_function(load, form):
    generator = np.random.default_rng(0)
    shapes, classes = (generator.normal(size=(n, 6)).astype(np.float32) for n in (50, 7))
    labels = generator.integers(0, 7, 50)
    metric = load("zero_shot_accuracy")
    for rows in (slice(0, 20), slice(20, 23), slice(23, 50)):
        predictions = shapes[rows].tolist() if form is list else form(shapes[rows])
        metric.add_batch(predictions=predictions, references=form(labels[rows]))
    expected = zero_shot_classification(shapes, classes, labels, (1, 2))
    scores = metric.compute(class_embeds=torch.tensor(classes) if form is torch.as_tensor else classes, top_k=[1, 2])
    assert scores == {"top_1": expected.accuracy[1], "top_2": expected.accuracy[2], "class_mean": expected.class_mean}


def test_retrieval_in_batches_and_one_by_one_is_the_pure_function(load):
    generator = np.random.default_rng(1)
    queries, gallery = generator.normal(size=(2, 40, 5)).astype(np.float32)
    keys = [f"shape {i % 15}" for i in range(40)]
    metric = load("cross_modal_retrieval")
    metric.add_batch(predictions=queries[:25], references=torch.tensor(gallery[:25]), keys=keys[:25])
    for row in range(25, 40):
        metric.add(prediction=queries[row], reference=gallery[row], keys=keys[row])
    expected = retrieval_recall(queries, gallery, keys, keys)
    assert metric.compute() == {
        **{f"recall_at_{k}": expected.recall[k] for k in (1, 5, 10)},
        "median_rank": expected.median_rank,
        "mean_average_precision": expected.mean_average_precision,
    }
    among_themselves = retrieval_recall(queries, queries, keys, keys, (3,), exclude_self=True)
    scores = load("cross_modal_retrieval").compute(
        predictions=queries, references=queries, keys=keys, ks=(3,), exclude_self=True
    )
    assert scores["recall_at_3"] == among_themselves.recall[3]
    assert scores["mean_average_precision"] == among_themselves.mean_average_precision


def test_several_processes_give_the_figures_of_one(load):
    """Each adds a part; the first gathers all. The others only write, so they may be forks of this process."""
    generator = np.random.default_rng(2)
    queries, gallery = generator.normal(size=(2, 33, 5)).astype(np.float32)
    keys = [str(i % 11) for i in range(33)]

    def add_a_part(process_id):
        metric = load("cross_modal_retrieval", num_process=3, process_id=process_id, experiment_id="three")
        rows = slice(process_id, None, 3)
        return metric.compute(predictions=queries[rows], references=gallery[rows], keys=keys[rows])

    load("cross_modal_retrieval")  # the copy in the cache is made once
    others = [multiprocessing.get_context("fork").Process(target=add_a_part, args=(i,)) for i in (1, 2)]
    for process in others:
        process.start()
    scores = add_a_part(0)
    for process in others:
        process.join(60)
        assert process.exitcode == 0
    assert scores == load("cross_modal_retrieval").compute(predictions=queries, references=gallery, keys=keys)


@pytest.mark.parametrize("name", NAMES)
def test_description_states_inputs_and_source_and_its_example_holds(load, name):
    metric = load(name)
    assert metric.description.strip() and "@" in metric.citation and metric.reference_urls
    for feature in metric.features:
        assert f"    {feature} (" in metric.inputs_description
    parsed = doctest.DocTestParser().get_doctest(
        metric.inputs_description, {"evaluate": _Loads(metric)}, name, None, 0
    )
    failures: list[str] = []
    results = doctest.DocTestRunner().run(parsed, out=failures.append)
    assert results.attempted == 3 and results.failed == 0, "".join(failures)


class _Loads:
    """Stands for the module `evaluate` in an example, whose path is of a checkout."""

    def __init__(self, metric):
        self.metric = metric

    def load(self, path):
        assert path == f"src/mrd_hf/evaluation/metrics/{self.metric.name}"
        return self.metric


def test_inputs_that_do_not_fit(load):
    metric = load("cross_modal_retrieval")
    with pytest.raises(ValueError, match="inputs are missing.*keys"):
        metric.compute(predictions=[[1.0]], references=[[1.0]])
    with pytest.raises(ValueError, match="Mismatch"):
        load("cross_modal_retrieval").compute(predictions=[[1.0]], references=[[1.0], [2.0]], keys=["a"])
    with pytest.raises(ValueError, match="labels must lie in 0..1, got 0..2"):
        load("zero_shot_accuracy").compute(
            predictions=[[1.0, 0.0]] * 2, references=[0, 2], class_embeds=[[1.0, 0.0], [0.0, 1.0]]
        )
