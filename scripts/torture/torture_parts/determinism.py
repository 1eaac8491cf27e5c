"""Part e: every command twice, and an encoder by four threads at once: equal to the byte."""

import threading
from pathlib import Path

import numpy as np

from torture_parts.inputs import DEMO, digests, write_encoder, write_recipe, write_shapes
from torture_parts.processes import Run
from torture_parts.tally import Tally


TIMEOUT = 300.0
THREADS = 4


def commands(folder: Path) -> dict[str, tuple[list[str], tuple[str, ...]]]:
    """By name: a command without its output, and patterns of the files that it writes; none for what it prints."""
    shapes, encoder = write_shapes(folder / "shapes", 24), write_encoder(folder / "encoder")
    labels, classes = folder / "labels.parquet", str(DEMO / "class_texts.parquet")
    recipe = write_recipe(folder / "recipe.yaml", steps=8)
    mrd_hf, model = ["-m", "mrd_hf_cli.main"], ["--model", str(encoder)]
    picture = str(next(shapes.glob("glb-png*")) / "shape.glb")
    evaluate = [*mrd_hf, "evaluate", *model, "--dataset", str(DEMO), "--class-texts", classes, "-o", "OUT"]
    prepare = [*mrd_hf, "prepare", "meshes", str(shapes), "--num-points", "256", "--num-views", "1", "-o", "OUT"]
    pretrain = ["-m", "mrd_hf.commands.pretrain", "--config", str(recipe), "--output-dir", "OUT"]
    return {
        "classify": ([*mrd_hf, "classify", str(shapes), *model, "--class-embeds", str(labels), "--json"], ()),
        "inspect": ([*mrd_hf, "inspect", str(shapes), "--json"], ()),
        "embed": ([*mrd_hf, "embed", str(shapes), *model, "-o", "OUT/e.parquet"], ("*.parquet",)),
        "index": ([*mrd_hf, "index", str(shapes), *model, "-o", "OUT"], ("*",)),
        "render": ([*mrd_hf, "render", picture, "-o", "OUT/p.png"], ("*.png",)),
        "prepare": (prepare, ("data/*", "report.json")),
        "evaluate": (evaluate, ("report.json", "*.parquet", "*.safetensors")),
        "pretrain": (pretrain, ("checkpoint-8/*.safetensors", "encoder/*.safetensors", "evaluation/*.json")),
    }


def _twice(name: str, command: list[str], patterns: tuple[str, ...], folder: Path) -> list[str]:
    """Side by side, each into a folder of its own; what differs, or fails."""
    found, problems = [], []
    places = [folder / f"{name} {number}" for number in range(2)]
    runs = []
    for place in places:
        (place / "work").mkdir(parents=True)
        words = [word.replace("OUT", str(place / "work" / "out")) for word in command]
        runs.append(Run(words, place / "log.txt", output=place / "printed.txt"))
    for place, run in zip(places, runs, strict=True):
        code = run.wait(TIMEOUT)
        out = place / "work" / "out"
        if code != 0:
            problems.append(f"exit code {code}: {run.said()[-300:]}")
        found.append(digests(out if patterns else place / "printed.txt", *patterns))
    if not problems and (found[0] != found[1] or not found[0]):
        problems.append("the two differ" if found[0] else "nothing was written")
    return problems


def by_threads(folder: Path) -> list[str]:
    """Embeddings of all shapes by four threads at once, against those of one."""
    from mrd_hf.encoder import load_encoder
    from mrd_hf.models.shape_suffixes import SHAPE_SUFFIXES

    loaded = load_encoder(str(folder / "encoder"))
    files = sorted(str(path) for path in (folder / "shapes").rglob("*") if path.suffix in SHAPE_SUFFIXES)

    def embed() -> np.ndarray:
        rows = []
        for file in files:
            try:
                values = loaded.extractor(file, return_tensors="pt")
            except ValueError:  # what only a whole folder's shape names
                continue
            rows.append(loaded.model.get_point_features(**values).detach().numpy())
        return np.concatenate(rows)

    expected, found = embed(), {}
    threads = [
        threading.Thread(target=lambda number=number: found.update({number: embed()})) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [
        f"thread {n} differs" for n in range(THREADS) if n not in found or found[n].tobytes() != expected.tobytes()
    ]


def run_part(tally: Tally, seed: int, count: int, folder: Path) -> None:
    """The first `count` of the commands, the threads among them; nothing is at random."""
    chosen = commands(folder)
    with tally.trying("four threads") as problems:
        problems += by_threads(folder)
    for name, (command, patterns) in list(chosen.items())[: max(count - 1, 0)]:
        if tally.is_over:
            tally.skip(name, "the time was up")
            continue
        with tally.trying(f"{name} twice") as problems:
            problems += _twice(name, command, patterns, folder)
