"""`mrd-hf score`: how well shapes fit texts or pictures, such as the prompts that they were generated from."""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..evaluation.scores.prompt_scores import PromptScores, cosine_table, score_pairs
from ..files.atomic_file import check_vacant
from ..files.atomic_folder import check_writable
from ..models.label_ranking import DEFAULT_LOGIT_SCALE
from .embeddings.embedding_table import open_embeddings
from .encoder import READING_OPTIONS, check_unused, chosen_encoder, embed_files
from .output import print_json, printable
from .prompts.pairs_table import Pairs, check_score_file, read_pairs, write_scores
from .prompts.prompts import Space, chosen_prompts, embed_prompts
from .shape_files import as_text, find_shapes


# Of the means that are shown, where there are many prompts.
SHOWN = 20


@dataclass(frozen=True)
class _Shapes:
    """Shapes that could be embedded.

    Args:
        names (list of `str`): Their files.
        embeds (`np.ndarray` of shape `(len(names), embedding_dim)`)
        space ([`Space`]): Which their embeddings are in.
    """

    names: list[str]
    embeds: np.ndarray
    space: Space


def run(options: argparse.Namespace) -> int:
    """Score shapes; returns the exit code."""
    output = None if options.output is None else Path(options.output)
    if output is not None:
        check_score_file(output)
        check_vacant(output, options.overwrite)
        check_writable(output.parent)
    pairs = None if options.pairs is None else read_pairs(Path(options.pairs))
    failures: list[dict[str, str]] = []
    prompts = chosen_prompts(options, pairs)
    shapes = _embed_shapes(options, pairs, failures)
    scale = _scale(options, shapes.space)
    prompt_embeds = embed_prompts(prompts, shapes.space, options)
    prompt_names = [as_text(name) for name in prompts.names]
    if pairs is None:
        cosines = cosine_table(shapes.embeds, prompt_embeds)
        scores = scale * cosines
        means = scores.mean(axis=0)
        columns: dict[str, list[Any]] = {
            "shape": np.repeat([as_text(name) for name in shapes.names], len(prompts.names)).tolist(),
            "prompt": prompt_names * len(shapes.names),
            "score": scores.ravel().tolist(),
        }
        summary: dict[str, Any] = {"means": dict(zip(prompt_names, means.tolist(), strict=True))}
    else:
        place = {name: number for number, name in enumerate(prompts.names)}
        row = {name: number for number, name in enumerate(shapes.names)}
        kept = [(row[s], place[p]) for s, p in zip(pairs.shapes, pairs.prompts, strict=True) if s in row]
        rows, prompt_of = (list(part) for part in zip(*kept, strict=True))
        found = score_pairs(shapes.embeds[rows], prompt_embeds, prompt_of)
        columns = {
            "shape": [as_text(shapes.names[number]) for number in rows],
            "prompt": [prompt_names[number] for number in prompt_of],
            "score": (scale * found.cosines).tolist(),
            "rank": found.ranks.tolist(),
        }
        summary = _summary_of_pairs(found, scale)
    summary = {"model": shapes.space.model, "measure": options.measure, **summary, "failed": failures}
    if output is not None:
        write_scores(output, columns, summary)
    if options.json:
        names = list(columns)
        rows_of_scores = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        print_json({**summary, "scores": rows_of_scores})
    else:
        _print(columns, summary, output)
    if failures:
        print(f"{len(failures)} shapes failed.", file=sys.stderr)
    return 1 if failures else 0


def _embed_shapes(options: argparse.Namespace, pairs: Pairs | None, failures: list[dict[str, str]]) -> _Shapes:
    """Of files, of a table's, or of what `mrd-hf embed` wrote."""
    cached = [file for file in options.files if file.lower().endswith(".parquet")]
    if cached:
        if len(options.files) > 1:
            raise UserError("embeddings (.parquet) cannot be scored together with other files; give one or the other.")
        check_unused(options, READING_OPTIONS, "for shapes, and these are embedded")
        facts, _, parts = open_embeddings(Path(cached[0]))
        read = list(parts)
        names = [name for of_part, _ in read for name in of_part]
        embeds = np.concatenate([of_part for _, of_part in read]) if read else np.zeros((0, facts.width), np.float32)
        space = Space(facts.model, facts.width, facts.teacher, facts.text_tower, None, "the embeddings' encoder")
        if pairs is not None:
            names = _named_as_in(pairs, names, cached[0])
    else:
        if pairs is not None and options.files:
            raise UserError("--pairs names the shapes itself; give no others, or a .parquet file of their embeddings.")
        if pairs is None and not options.files:
            raise UserError("which shapes? Give files or folders, a .parquet file of `mrd-hf embed`, or --pairs.")
        files = find_shapes(options.files) if pairs is None else list(dict.fromkeys(pairs.shapes))
        encoder = chosen_encoder(options)
        config = encoder.config
        space = Space(
            encoder.name,
            encoder.embedding_dim,
            encoder.teacher,
            config.text_tower_id,
            config.logit_scale,
            encoder.name,
        )
        read = list(embed_files(encoder, files, options.up_axis, options.batch_size, failures))
        names = [name for of_part, _ in read for name in of_part]
        embeds = np.concatenate([np.zeros((0, space.embedding_dim), np.float32), *(of_part for _, of_part in read)])
    if not names:
        raise UserError("none of the shapes could be embedded, so there is nothing to score.", exit_code=1)
    return _Shapes(names, embeds, space)


def _named_as_in(pairs: Pairs, names: list[str], source: str) -> list[str]:
    """Names of embeddings as a table has them, which may name files from another folder on; others stay."""
    same = set(names) & set(pairs.shapes)
    others = [shape for shape in pairs.shapes if shape not in same]
    # Of links to one file each is a shape of its own, so links are followed last.
    resolved = {os.path.realpath(shape): shape for shape in others}
    absolute = {os.path.abspath(shape): shape for shape in others}
    named = [
        name if name in same else absolute.get(os.path.abspath(name)) or resolved.get(os.path.realpath(name), name)
        for name in names
    ]
    there = set(named)
    missing = [shape for shape in dict.fromkeys(pairs.shapes) if shape not in there]
    if missing:
        raise UserError(
            f"{source}: has no embedding of {len(missing)} shapes of --pairs, the first {missing[0]}; embed them with "
            "`mrd-hf embed`, from the same folder."
        )
    return named


def _scale(options: argparse.Namespace, space: Space) -> float:
    if options.measure == "cosine":
        return 1.0
    if not options.files or not options.files[0].lower().endswith(".parquet"):
        return DEFAULT_LOGIT_SCALE if space.logit_scale is None else space.logit_scale
    raise UserError("--measure scaled: a file of embeddings does not say its encoder's scale; score the shapes.")


def _summary_of_pairs(found: PromptScores, scale: float) -> dict[str, Any]:
    return {
        "mean": scale * found.mean,
        "r_precision": {str(k): value for k, value in found.r_precision.items()},
        "r_precision_by_chance": {str(k): value for k, value in found.chance.items()},
        "num_prompts": found.num_prompts,
    }


def _print(columns: dict[str, Any], summary: dict[str, Any], output: Path | None) -> None:
    """The scores, unless they are in a file, and what they come to."""
    if output is None:
        latest = None
        for shape, prompt, score in zip(columns["shape"], columns["prompt"], columns["score"], strict=True):
            if shape != latest:
                print(printable(shape))
                latest = shape
            print(f"  {score:7.3f}  {printable(prompt)}")
    else:
        print(f"{len(columns['score'])} scores written to {printable(str(output))}.")
    count = len(set(columns["shape"]))
    if "mean" in summary:
        print(f"mean {summary['mean']:.3f} over {len(columns['score'])} pairs")
        for k, value in summary["r_precision"].items():
            chance = summary["r_precision_by_chance"][k]
            print(f"R-precision at {k}: {value:.1%} of {summary['num_prompts']} prompts (by chance {chance:.1%})")
    elif count > 1:
        print(f"means over {count} shapes")
        for prompt, mean in list(summary["means"].items())[:SHOWN]:
            print(f"  {mean:7.3f}  {printable(prompt)}")
        if len(summary["means"]) > SHOWN:
            print(f"  and {len(summary['means']) - SHOWN} more prompts")
