"""The log survives a kill and a resume; the curves are drawn."""

import numpy as np
from matplotlib.colors import to_hex
from PIL import Image

from mrd_hf.evaluation.held_out import HeldOutSet, evaluate_held_out
from mrd_hf.evaluation.report import as_metrics
from mrd_hf.training.training_log import TrainingLog, draw_log, plot_log, read_log


TERMS = ("intra_image", "intra_text", "cross_image_text")


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


def run_of(num_steps, num_terms=3):
    """A log as pretraining writes it, with an evaluation at every tenth step."""
    generator = np.random.default_rng(0)
    held_out = HeldOutSet(
        ids=[f"{number}" for number in range(20)],
        names=["mug", "lamp"] * 10,
        categories=["mug", "lamp"] * 10,
        labels=np.array([0, 1] * 10),
        class_names=["mug", "lamp"],
        class_embeds=generator.normal(size=(2, 8)),
        image_embeds=generator.normal(size=(20, 8)),
        name_embeds=generator.normal(size=(20, 8)),
    )
    log = []
    for step in range(1, num_steps + 1):
        line = {
            "step": step,
            "loss": 9 - step / 100,
            "learning_rate": 1e-3,
            "alignment_loss": 5.0,
            "relation_loss": 7.0,
        }
        line |= {"logit_scale": 14.0, "teacher_temperature": 0.07, "retrieval_accuracies/point_to_image": 0.5}
        for number in range(num_terms):
            term = TERMS[number] if number < len(TERMS) else f"term_{number}"
            line |= {f"relation_losses/{term}": 6.0 + number, f"relation_weights/{term}": 1.0 + number / 100}
        log.append(line)
        if step % 10 == 0:
            scores = as_metrics(evaluate_held_out(generator.normal(size=(20, 8)), held_out))
            log.append({"step": step, **{f"eval/{key}": value for key, value in scores.items()}})
    return log


def panels_of(figure):
    return {axes.get_title(): axes for axes in figure.axes}


def curves_of(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_shares_ranks_and_losses_have_panels_of_their_own():
    log = run_of(30)
    panels = panels_of(draw_log(log))
    assert list(panels) == [
        "Losses",
        "Relation losses",
        "Relation weights",
        "Learning rate",
        "Held-out shapes: shares",
        "Held-out shapes: median ranks",
    ]
    shares, ranks = panels["Held-out shapes: shares"], panels["Held-out shapes: median ranks"]
    assert shares.get_ylim() == (0, 1) and len(shares.lines) == 8
    for label in ("zero-shot top-1", "shape to image, recall at 10", "nearest of same category"):
        assert all(0 <= share <= 1 for share in curves_of(shares)[label][1])
    evaluated = [line for line in log if "eval/zero_shot_top1" in line]
    assert curves_of(shares)["zero-shot top-1"] == ([10, 20, 30], [line["eval/zero_shot_top1"] for line in evaluated])
    assert curves_of(ranks) == {
        f"{query} to {item}": ([10, 20, 30], [line[f"eval/{query}_to_{item}_median_rank"] for line in evaluated])
        for query, item in (("shape", "image"), ("image", "shape"), ("shape", "text"), ("text", "shape"))
    }
    assert ranks.get_yscale() == "log" and ranks.get_ylim()[0] == 1
    assert curves_of(panels["Losses"]).keys() == {"total", "alignment", "relations, weighted"}
    assert curves_of(panels["Losses"])["total"] == (list(range(1, 31)), [9 - step / 100 for step in range(1, 31)])
    assert curves_of(panels["Relation losses"]).keys() == {"intra image", "intra text", "cross image text"}
    assert curves_of(panels["Relation weights"])["intra text"][1] == [1.01] * 30


def test_a_panel_has_eight_lines_at_most_and_no_two_alike():
    for axes in draw_log(run_of(10, num_terms=12)).axes:
        looks = {(to_hex(line.get_color()), line.get_linestyle()) for line in axes.lines}
        assert 1 <= len(axes.lines) == len(looks) <= 8
        assert (axes.get_legend() is None) == (len(axes.lines) == 1)


def test_there_are_panels_for_what_was_logged_alone(tmp_path):
    assert list(panels_of(draw_log([{"step": 1, "loss": 1.0, "alignment_loss": 0.5}]))) == ["Losses"]
    log = [{"step": 2, "loss": 1.0}, {"step": 2, "eval/shape_to_image_recall_at_1": 0.25}]
    figure = draw_log(log)
    assert list(panels_of(figure)) == ["Losses", "Held-out shapes: shares"]
    assert curves_of(figure.axes[1]) == {"shape to image, recall at 1": ([2], [0.25])}
    assert len(draw_log(run_of(9)).axes) == 4  # no axes left over where the grid is not filled


def test_the_curves_are_written_as_a_picture(tmp_path):
    plot_log(run_of(10), tmp_path / "six.png")
    plot_log([{"step": 1, "loss": 1.0}], tmp_path / "one.png")
    with Image.open(tmp_path / "six.png") as six, Image.open(tmp_path / "one.png") as one:
        assert (six.width, six.height) == (3 * one.width, 2 * one.height)
