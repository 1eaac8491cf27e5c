"""Cross-modal retrieval as a module of `evaluate`: `evaluate.load("path/of/cross_modal_retrieval")`, offline as well.

`evaluate` copies this file into its cache and runs it there, so it imports the package by its full name.
"""

import datasets
import evaluate
import numpy as np

from mrd_hf.evaluation.scores.retrieval import retrieval_recall


_DESCRIPTION = """
How well embeddings of one modality find those of another, by cosine: among all references, each prediction looks for
those with its own key. Of references equally near, the earlier one ranks first. Shapes among shapes work as well, each
being left out of what it is compared with.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of lists of float, or array of shape (num_pairs, embedding_dim)): Embeddings that search, as of
        shapes; need not be normalised. They are kept in float32.
    references (list of lists of float, or array of shape (num_pairs, embedding_dim)): Embeddings to be found, as of
        the same shapes' images or texts.
    keys (list of str): One a pair: the shape's id, where only its own reference counts, or a name or category, where
        any reference of the same one does.
    ks (sequence of int, defaults to (1, 5, 10)): How many of the nearest references count.
    exclude_self (bool, defaults to False): Whether a pair's own reference is left out, for predictions and references
        that are the same embeddings.

Returns:
    dict: `recall_at_<k>` for each k, the share of predictions with a match among the k nearest; `median_rank`, from 1,
    of the first match; `mean_average_precision`.

Examples:
    >>> metric = evaluate.load("src/mrd_hf/evaluation/metrics/cross_modal_retrieval")
    >>> metric.add_batch(
    ...     predictions=[[1.0, 0.0], [0.0, 1.0]], references=[[1.0, 0.1], [1.0, 0.0]], keys=["chair", "lamp"]
    ... )
    >>> metric.compute(ks=(1, 2))
    {'recall_at_1': 0.0, 'recall_at_2': 1.0, 'median_rank': 2.0, 'mean_average_precision': 0.5}
"""

_CITATION = """
@book{manning2008introduction,
  title={Introduction to Information Retrieval},
  author={Manning, Christopher D. and Raghavan, Prabhakar and Sch{\\"u}tze, Hinrich},
  publisher={Cambridge University Press},
  year={2008}
}
"""


class CrossModalRetrieval(evaluate.Metric):
    """Thin over [`mrd_hf.evaluation.scores.retrieval.retrieval_recall`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("float32")),
                    "references": datasets.List(datasets.Value("float32")),
                    # Stored with the embeddings, so that several processes' pairs keep their keys.
                    "keys": datasets.Value("string"),
                }
            ),
            reference_urls=["https://nlp.stanford.edu/IR-book/"],
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[float]],
        keys: list[str],
        ks: tuple[int, ...] = (1, 5, 10),
        exclude_self: bool = False,
    ) -> dict[str, float]:
        queries, gallery = (np.asarray(rows, dtype=np.float32) for rows in (predictions, references))
        result = retrieval_recall(queries, gallery, keys, keys, tuple(ks), exclude_self)
        return {
            **{f"recall_at_{k}": share for k, share in result.recall.items()},
            "median_rank": result.median_rank,
            "mean_average_precision": result.mean_average_precision,
        }
