"""The log survives a kill and a resume; the curves are drawn."""

from PIL import Image

from mrd_hf.training.training_log import TrainingLog, plot_log, read_log


def test_resuming_drops_the_lines_that_will_be_repeated(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path, 0)
    for step in (1, 2, 3):
        log.write(step, {"loss": 1.0 / step})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # cut off by a kill
    assert [line["step"] for line in read_log(path)] == [1, 2, 3]
    TrainingLog(path, 2).write(3, {"loss": 9.0})
    assert read_log(path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 9.0}]


def test_a_new_run_starts_an_empty_log(tmp_path):
    path = tmp_path / "log.jsonl"
    TrainingLog(path, 0).write(1, {"loss": 1.0})
    TrainingLog(path, 0)
    assert read_log(path) == []


def test_curves_have_a_panel_for_what_was_logged(tmp_path):
    log = [{"step": s, "loss": 1.0, "alignment_loss": 0.5} for s in (1, 2)] + [{"step": 2, "eval/top1": 0.3}]
    plot_log(log, tmp_path / "curves.png")
    plot_log(log[:2], tmp_path / "one.png")
    with Image.open(tmp_path / "curves.png") as two_panels, Image.open(tmp_path / "one.png") as one_panel:
        assert two_panels.width == 2 * one_panel.width
