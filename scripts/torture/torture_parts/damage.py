"""Part c: shapes, checkpoints, indexes, tables, configurations and pickles with random damage, each read once."""

import io
import json
import logging
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging as library_logging

from mrd_hf.errors import UserError  # here, so that processes that are forked need not import it
from torture_parts.inputs import write_encoder
from torture_parts.processes import ROOT
from torture_parts.tally import Tally


sys.path.insert(0, str(ROOT / "scripts" / "benchmarks"))
from mutated_shapes import memory_status, read_mutated  # noqa: E402
from mutation_parts.shape_mutations import changed_json, damaged  # noqa: E402


# Of ten files so many are shapes, which have limits of their own.
SHAPES_OF_TEN = 7
MAX_SECONDS, MAX_BYTES, MAX_MESSAGE = 10.0, 2**30, 1500
DEADLINE = 60.0
Reader = Callable[[Path], Any]


def readers(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """By what they read: a sound file or folder, written into `folder`, and what reads it."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import save_file

    from mrd_hf.cli.embeddings.embedding_table import open_embeddings
    from mrd_hf.conversion.checkpoint_file import read_checkpoint
    from mrd_hf.data.class_texts import read_class_texts
    from mrd_hf.encoder import load_encoder
    from mrd_hf.files.plain_pickle import map_plain_npy
    from mrd_hf.search import ShapeIndex
    from mrd_hf.training.recipe_files import parse_mapping

    folder.mkdir(parents=True)
    tensors = {f"layers.{number}.weight": torch.arange(64.0).reshape(8, 8) for number in range(4)}
    for name, zipped in (("zipped.pt", True), ("plain.pt", False)):
        torch.save({"model": tensors, "epoch": 3}, folder / name, _use_new_zipfile_serialization=zipped)
    save_file(tensors, folder / "weights.safetensors")
    embeds = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)
    ShapeIndex.build(folder / "index", embeds, [{"id": str(number)} for number in range(40)], "model")
    pq.write_table(
        pa.table({"label": [str(n) for n in range(40)], "text_embed": embeds.tolist()}), folder / "c.parquet"
    )
    value = {"xyz": embeds[:, :3], "name": "a chair", "texts": ["a", "b"] * 10}
    np.save(folder / "pickle.npy", np.array(value, dtype=object), allow_pickle=True)
    (folder / "weights.json").write_text(json.dumps({"a": 1.0, "b": 2.5}))
    write_encoder(folder / "encoder")

    def embeddings(path: Path) -> int:
        _, _, rows = open_embeddings(path)
        return sum(len(names) for names, _ in rows)

    found: dict[str, tuple[Path, Reader]] = {
        "checkpoint, zipped": (folder / "zipped.pt", read_checkpoint),
        "checkpoint, plain": (folder / "plain.pt", read_checkpoint),
        "checkpoint, safetensors": (folder / "weights.safetensors", read_checkpoint),
        "index": (folder / "index", lambda path: ShapeIndex.open(path).search(embeds[:1], k=3)),
        "class texts": (folder / "c.parquet", read_class_texts),
        "embeddings": (folder / "c.parquet", embeddings),
        "pickle": (folder / "pickle.npy", map_plain_npy),
        "encoder": (folder / "encoder", lambda path: load_encoder(str(path))),
        "mapping": (folder / "weights.json", lambda path: parse_mapping(path.read_text(errors="replace"), str(path))),
    }
    return found


def _damage(sound: Path, place: Path, rng: random.Random) -> Path:
    """A damaged copy; of a folder, one of its files of data is."""
    target = place / sound.name
    files = [sound] if sound.is_file() else [path for path in sorted(sound.iterdir()) if path.suffix != ".py"]
    wrong = rng.choice(files)
    for path in files:
        content = path.read_bytes()
        for _ in range(rng.choice((1, 1, 2, 4)) if path == wrong else 0):
            change = changed_json if path.suffix == ".json" and rng.random() < 0.7 else damaged
            content = change(content, rng)
        copy = target if sound.is_file() else target / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    return target


def _read(path: Path, read: Reader) -> tuple[list[str], float, int]:
    """What is wrong with how a file was read or refused, and the seconds and bytes that it took."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory starts again at the present
    before, limits = memory_status("VmRSS"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_status("VmSize") + MAX_BYTES, limits[1]))
    began = time.process_time()
    problems = []
    try:
        read(path)
    except (UserError, ValueError, OSError) as error:
        if path.name not in str(error):
            problems.append(f"does not name the file: {type(error).__name__}: {error}")
        if len(str(error)) > MAX_MESSAGE:
            problems.append(f"a message of {len(str(error)):,} characters: {error}")
    except BaseException as error:
        problems.append(f"{type(error).__name__}: {error}")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    seconds, memory = time.process_time() - began, max(memory_status("VmHWM") - before, 0)
    if seconds > MAX_SECONDS:
        problems.append(f"{seconds:.1f} seconds")
    return [problem[:600] for problem in problems], seconds, memory


def _serve(numbers: list[int], sound: dict[str, tuple[Path, Reader]], seed: int, answers: Connection) -> None:
    library_logging.set_verbosity_error()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    sys.stderr = io.StringIO()
    for number in numbers:
        name = sorted(sound)[number % len(sound)]
        answers.send((number, name))
        with tempfile.TemporaryDirectory() as place:
            path = _damage(sound[name][0], Path(place), random.Random(seed * 2**32 + number))
            answers.send(_read(path, sound[name][1]))


def read_damaged(tally: Tally, seed: int, count: int, folder: Path) -> None:
    """Read so many files that are no shapes, in another process, which is replaced when it ends."""
    sound = readers(folder)
    for path, read in sound.values():
        if path.name != "c.parquet":  # of which one reader wants other columns
            read(path)  # loads what is loaded when it is needed
    context = multiprocessing.get_context("fork")
    remaining = list(range(count))
    while remaining and not tally.is_over:
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(remaining, sound, seed, sending), daemon=True)
        process.start()
        sending.close()
        current = (-1, "the reading process")
        try:
            while remaining and not tally.is_over:
                if not receiving.poll(DEADLINE if current[0] >= 0 else 10 * DEADLINE):
                    raise TimeoutError
                answer = receiving.recv()
                if isinstance(answer[0], int):
                    current = answer
                    continue
                problems, seconds, memory = answer
                tally.count(f"{current[0]} ({current[1]})", problems, seconds, memory)
                del remaining[0]
        except (EOFError, TimeoutError) as error:
            process.join(0.1)
            why = "hung" if isinstance(error, TimeoutError) else f"ended the process ({process.exitcode})"
            tally.count(f"{current[0]} ({current[1]})", [why], DEADLINE if why == "hung" else 0.0)
            if current[0] < 0:
                return
            del remaining[0]
        finally:
            process.kill()
            process.join()
            receiving.close()


def run_part(tally: Tally, seed: int, count: int, folder: Path) -> None:
    """So many damaged files."""
    shapes = count * SHAPES_OF_TEN // 10
    for outcome in read_mutated(range(seed * 10**6, seed * 10**6 + shapes), folder / "shapes"):
        problems = [outcome.message] if outcome.kind == "failed" else []
        tally.count(f"shape {outcome.number} ({outcome.name})", problems, outcome.seconds, outcome.memory)
        if tally.is_over:
            break
    read_damaged(tally, seed, count - shapes, folder / "others")
