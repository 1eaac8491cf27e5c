"""The pictures beside a report."""

from pathlib import Path

import numpy as np

from ..held_out import classify_labeled
from ..report import EvaluationReport
from ..scored_shapes import Shapes
from .confusion_plot import write_confusion_matrix
from .contact_sheet import write_contact_sheet
from .embedding_map import dataset_pictures, write_embedding_map
from .interval_plot import write_interval_bars, write_robustness_bars


def draw_report(
    folder: Path, shapes: Shapes, embeds: np.ndarray, report: EvaluationReport, robustness: bool, with_map: bool
) -> None:
    """Draw what a report says: `scores.png` and, as far as there is something to show, the others.

    Args:
        folder (`Path`): Where the pictures go.
        shapes ([`Shapes`]), embeds (`np.ndarray` of shape `(num_shapes, embedding_dim)`): What was scored.
        report ([`EvaluationReport`])
        robustness (`bool`): Whether it has scores of corrupted shapes.
        with_map (`bool`): Whether to write `map.html` as well.
    """
    held_out = shapes.held_out
    write_interval_bars(folder / "scores.png", [report.as_dict()])
    if robustness:
        write_robustness_bars(folder / "robustness.png", [report.as_dict()])
    if len(held_out.labeled) and held_out.class_names:
        result = classify_labeled(embeds, held_out)
        write_confusion_matrix(folder / "confusion.png", result.confusion, held_out.class_names)
        if shapes.dataset is not None:
            write_contact_sheet(folder / "contact_sheet.png", shapes.dataset, embeds, held_out)
    if with_map:
        modalities = {"3D": embeds, "image": held_out.image_embeds, "text": held_out.name_embeds}
        write_embedding_map(
            folder / "map.html",
            shapes.read,
            {name: values for name, values in modalities.items() if values is not None},
            held_out.ids,
            held_out.names,
            held_out.labels,
            held_out.class_names,
            held_out.class_embeds if held_out.class_names else None,
            dataset_pictures(shapes.dataset) if shapes.dataset is not None else None,
            shapes.up_axis,
            title=f"{report.model} on {shapes.name} ({shapes.split})",
            seed=report.seed,
        )
