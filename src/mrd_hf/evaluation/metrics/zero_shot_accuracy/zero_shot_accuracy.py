"""Zero-shot accuracy as a module of `evaluate`: `evaluate.load("path/of/zero_shot_accuracy")`, offline as well.

`evaluate` copies this file into its cache and runs it there, so it imports the package by its full name.
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from mrd_hf.evaluation.scores.zero_shot import zero_shot_classification


_DESCRIPTION = """
How often a shape's class is among the k classes whose text embeddings are nearest to the shape's embedding, by cosine.
Of classes equally near, the one with the lower index counts as nearer.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of lists of float, or array of shape (num_shapes, embedding_dim)): One embedding a shape; need
        not be normalised. It is kept in float32.
    references (list of int): The class of each shape, an index into `class_embeds`.
    class_embeds (array of shape (num_classes, embedding_dim)): One text embedding a class, for `compute` alone.
    top_k (sequence of int, defaults to (1, 3, 5)): How many of the nearest classes count.

Returns:
    dict: `top_<k>` for each k, the share of shapes whose class is among the k nearest; `class_mean`, the mean over the
    classes that occur of the share of their shapes with the right class nearest.

Examples:
    >>> metric = evaluate.load("src/mrd_hf/evaluation/metrics/zero_shot_accuracy")
    >>> metric.add_batch(predictions=[[1.0, 0.1], [0.2, 1.0], [0.9, 0.8]], references=[0, 1, 1])
    >>> metric.compute(class_embeds=[[1.0, 0.0], [0.0, 1.0]], top_k=(1, 2))
    {'top_1': 0.6666666666666666, 'top_2': 1.0, 'class_mean': 0.75}
"""

_CITATION = """
@inproceedings{radford2021learning,
  title={Learning Transferable Visual Models From Natural Language Supervision},
  author={Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and Agarwal, Sandhini
          and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and Krueger, Gretchen
          and Sutskever, Ilya},
  booktitle={International Conference on Machine Learning},
  year={2021}
}
"""


class ZeroShotAccuracy(evaluate.Metric):
    """Thin over [`mrd_hf.evaluation.scores.zero_shot.zero_shot_classification`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("float32")),
                    "references": datasets.Value("int64"),
                }
            ),
            reference_urls=["https://arxiv.org/abs/2103.00020"],
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[int],
        class_embeds: Any,
        top_k: tuple[int, ...] = (1, 3, 5),
    ) -> dict[str, float]:
        result = zero_shot_classification(
            np.asarray(predictions, dtype=np.float32),
            np.asarray(class_embeds, dtype=np.float32),
            references,
            tuple(top_k),
        )
        return {**{f"top_{k}": share for k, share in result.accuracy.items()}, "class_mean": result.class_mean}
