"""Picture of an ablation: what arms learned and what they scored on held-out shapes, over the steps of training."""

from collections.abc import Mapping
from pathlib import Path

from ..ablation.arm_courses import HELD_OUT_KEYS, TRAINING_KEY, Course
from .figure_files import new_figure, save_figure
from .interval_plot import COLORS


# Of arms beyond as many as there are colours; dashes are the baselines'.
STYLES = ("-", "-.", ":")
TITLES = {
    TRAINING_KEY: "alignment loss, training shapes",
    HELD_OUT_KEYS[0]: "shape to image, recall at 10, held out",
    HELD_OUT_KEYS[1]: "zero-shot top-1, held out",
}


def write_courses(
    path: Path, courses: Mapping[str, Mapping[str, Course]], baselines: Mapping[str, str | None], title: str
) -> bool:
    """Draw the courses of arms side by side: an arm in a colour of its own, its baseline dashed in the first one's.

    An arm that is compared with another one is not dashed, whatever is compared with it.

    Args:
        path (`Path`): PNG to write.
        courses (mapping): Of each arm, by the key of the figure; see [`arm_course`].
        baselines (mapping): Of every arm, the one that it is compared with.
        title (`str`)

    Returns:
        `bool`: Whether there was a held-out figure to draw.
    """
    shown = {arm: found for arm, found in courses.items() if any(key in found for key in HELD_OUT_KEYS)}
    keys = [key for key in TITLES if any(key in found for found in shown.values())]
    if not shown:
        return False
    # Of each baseline that is compared with nothing itself, the first arm that is compared with it.
    firsts: dict[str, str] = {}
    for arm in shown:
        baseline = baselines.get(arm)
        if baseline is not None and baselines.get(baseline) is None:
            firsts.setdefault(baseline, arm)
    own = [arm for arm in shown if arm not in firsts]
    figure = new_figure(5.2 * len(keys) + 0.4, 5.6, title)
    for axes, key in zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True):
        for arm, found in shown.items():
            if key not in found:
                continue
            course, place = found[key], own.index(firsts.get(arm, arm))
            color, style = COLORS[place % len(COLORS)], STYLES[place // len(COLORS) % len(STYLES)]
            scale = 1 if key == TRAINING_KEY else 100
            means, spreads = scale * course.means, scale * course.spreads
            style = "--" if arm in firsts else style
            axes.plot(course.steps, means, style, color=color, linewidth=1.6, label=arm, gid=f"{key}:{arm}")
            axes.fill_between(course.steps, means - spreads, means + spreads, color=color, alpha=0.1, linewidth=0)
        axes.set_title(TITLES[key], fontsize="medium")
        axes.set_xlabel("step")
        axes.set_ylabel("loss" if key == TRAINING_KEY else "%", fontsize="small")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    save_figure(figure, path)
    return True
