"""A run stays one run of its trackers, however often it resumes; each step is in it once."""

import json
import sys
from types import SimpleNamespace

import pytest
from accelerate import PartialState
from support.short_runs import tiny_run
from support.tiny_triplets import save_tiny_triplets
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mrd_hf.errors import UserError
from mrd_hf.training.arguments import parse_arguments
from mrd_hf.training.pretraining import LOG_FILE
from mrd_hf.training.tracking import IDENTITY_FILE, run_identity, start_trackers
from mrd_hf.training.training_log import TrainingLog


class FakeTrackio:
    """The part of trackio that accelerate calls: what a run of a project and name got, in a dictionary."""

    def __init__(self):
        self.runs = {}
        self.resumes = []
        self.config = {}

    def init(self, project, name, resume):
        self.resumes.append(resume)
        if resume == "never":
            assert (project, name) not in self.runs
        logged = self.runs.setdefault((project, name), [])
        return SimpleNamespace(log=lambda values, step: logged.append((step, values)), finish=lambda: None)


@pytest.fixture
def trackio(monkeypatch):
    module = FakeTrackio()
    monkeypatch.setitem(sys.modules, "trackio", module)
    return module


def track(output_dir, report_to, steps, resumed_at=None, project=None, run_name=None, new_course=False):
    """Part of a run: what pretraining does with its trackers and its log. It ends as a kill would."""
    PartialState(cpu=True)
    output_dir.mkdir(exist_ok=True)
    file = output_dir / "training_log.jsonl"
    names = project, run_name
    arguments = {"seed": 0, "config": "a|b"}
    trackers = start_trackers(report_to, output_dir, file, *names, resumed_at, arguments, new_course)
    log = TrainingLog(file, resumed_at or 0)
    for step in steps:
        for tracker in trackers:
            tracker.log({"loss": 10.0 * step}, step=step)
        log.write(step, {"loss": 10.0 * step})


def test_tensorboard_shows_one_run_with_each_step_once(tmp_path):
    track(tmp_path / "out", ["tensorboard"], range(1, 8))
    track(tmp_path / "out", ["tensorboard"], range(5, 11), resumed_at=4)
    track(tmp_path / "out", ["tensorboard"], range(9, 13), resumed_at=8)
    [run] = (tmp_path / "out" / "mrd").iterdir()
    assert run.name.startswith("out-") and all(path.is_file() for path in run.iterdir())
    events = EventAccumulator(str(run)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(step, 10.0 * step) for step in range(1, 13)]
    [arguments] = events.Tags()["tensors"]
    assert b"| seed | `0` |" in events.Tensors(arguments)[0].tensor_proto.string_val[0]


def test_trackio_continues_its_run_and_gets_no_step_twice(tmp_path, trackio):
    track(tmp_path / "out", ["trackio"], range(1, 8), project="shapes", run_name="first")
    track(tmp_path / "out", ["trackio"], range(5, 11), resumed_at=4)  # told no name again
    assert trackio.resumes == ["never", "allow"]
    assert trackio.runs == {("shapes", "first"): [(step, {"loss": 10.0 * step}) for step in range(1, 11)]}


def test_a_run_that_is_killed_before_it_has_repeated_all_logs_no_step_twice(tmp_path, trackio):
    track(tmp_path / "out", ["trackio"], range(1, 11))
    track(tmp_path / "out", ["trackio"], range(5, 8), resumed_at=4)  # killed at 7, where the first one came to 10
    track(tmp_path / "out", ["trackio"], range(5, 13), resumed_at=4)
    [logged] = trackio.runs.values()
    assert [step for step, _ in logged] == list(range(1, 13))


@pytest.mark.parametrize("run_name", [None, "first"])
def test_another_course_is_another_run(tmp_path, trackio, run_name):
    track(tmp_path / "out", ["trackio"], range(1, 8), run_name=run_name)
    track(tmp_path / "out", ["trackio"], range(3, 6), resumed_at=2, run_name=run_name, new_course=True)
    track(tmp_path / "out", ["trackio"], range(4, 9), resumed_at=3)  # which is resumed as any other
    (_, first), ((project, name), second) = trackio.runs.items()
    assert [step for step, _ in first] == [1, 2, 3, 4, 5, 6, 7] and [step for step, _ in second] == [3, 4, 5, 6, 7, 8]
    assert project == "mrd" and name.startswith(f"{run_name or 'out'}-")


def test_scores_that_a_run_ended_before_are_logged_when_it_resumes(tmp_path, trackio, monkeypatch):
    """The log has metrics of the checkpoint's step and no scores, as after SIGTERM or an evaluation that failed."""
    # wandb begins after the last step that it has, and drops what is of an earlier one.
    at_wandb = []
    run = SimpleNamespace(log=lambda values, step: at_wandb.append((step, values)))
    config = SimpleNamespace(update=lambda values, allow_val_change: None)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **kwargs: run, config=config))
    data, file = save_tiny_triplets(tmp_path / "data"), tmp_path / "out" / LOG_FILE

    def begin(evaluate, resumed_at=None):
        run = tiny_run(data, tmp_path / "out", evaluate=evaluate, eval_steps=2, save_steps=2, logging_steps=2)
        if resumed_at is not None:
            run.resume(tmp_path / "out" / f"checkpoint-{resumed_at}")
        report_to = ["trackio", "wandb"]
        run.accelerator.trackers = start_trackers(report_to, tmp_path / "out", file, None, None, resumed_at, {})
        return run

    def fail(model):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        begin(fail).run()
    assert [step for step, _ in at_wandb] == [2]
    for resumed_at in (2, 2, 4, 6):  # once, then all again
        begin(lambda model: {"score": 1.0}, resumed_at).run()
    [logged] = trackio.runs.values()
    for kind in ("loss", "eval/score"):
        assert [step for step, values in logged if kind in values] == [2, 4, 6]
    assert [step for step, values in at_wandb if "eval/score" in values] == [3, 4, 6]
    assert [step for step, _ in at_wandb] == sorted(step for step, _ in at_wandb)


def test_wandb_continues_its_run_by_an_id_of_its_own(tmp_path, monkeypatch):
    calls, config = [], SimpleNamespace(update=lambda values, allow_val_change: None)
    run = SimpleNamespace(log=lambda values, step: calls[-1]["steps"].append(step))
    module = SimpleNamespace(init=lambda **kwargs: calls.append({**kwargs, "steps": []}) or run, config=config)
    monkeypatch.setitem(sys.modules, "wandb", module)
    track(tmp_path / "out", ["wandb"], range(1, 8), run_name="first")
    track(tmp_path / "out", ["wandb"], range(5, 11), resumed_at=4)
    track(tmp_path / "other", ["wandb"], range(1, 2), run_name="first")
    assert [(call["project"], call["name"], call["resume"]) for call in calls] == [("mrd", "first", "allow")] * 3
    assert calls[0]["id"] == calls[1]["id"] != calls[2]["id"]
    assert calls[1]["steps"] == [8, 9, 10]


def test_runs_of_two_folders_of_one_name_are_two(tmp_path, trackio):
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        track(tmp_path / parent / "out", ["trackio"], range(1, 3))
    assert len(trackio.runs) == 2


def test_another_name_begins_another_run(tmp_path, trackio):
    track(tmp_path / "out", ["trackio"], range(1, 5), run_name="first")
    track(tmp_path / "out", ["trackio"], range(3, 6), resumed_at=2, run_name="second")
    assert [step for step, _ in trackio.runs["mrd", "second"]] == [3, 4, 5]
    assert run_identity(tmp_path / "out", True, None, None)[0].run_name == "second"


def test_the_identity_is_in_the_runs_folder(tmp_path):
    made, continued = run_identity(tmp_path, False, None, "mine")
    assert not continued and json.loads((tmp_path / IDENTITY_FILE).read_text())["run_name"] == "mine"
    assert run_identity(tmp_path, True, None, None) == (made, True)
    assert run_identity(tmp_path, True, "mrd", "mine") == (made, True)
    (tmp_path / IDENTITY_FILE).write_text("{")
    with pytest.raises(UserError, match=f"{IDENTITY_FILE}: cannot be read .*delete it"):
        run_identity(tmp_path, True, None, None)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a\nb"])
def test_names_that_would_be_other_folders_are_refused(name):
    with pytest.raises(UserError, match="run_name must begin with a letter"):
        parse_arguments(["--dataset", "d", "--output_dir", "o", "--run_name", name])
