"""Typed labels and texts to search for, where what would embed them cannot be had."""

import time

import pytest
from support.dead_hubs import SOON, closed_port, move_the_hub, silent_server
from support.tiny_encoders import tiny_encoder
from support.tiny_teachers import CLIP_WIDTH, save_tiny_clip
from tiny_commands import mrd_hf
from transformers.utils import logging as transformers_logging

from mrd_hf import PointCloudFeatureExtractor


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """An encoder whose teacher is nowhere, a shape, and an index of it."""
    folder = tmp_path_factory.mktemp("work")
    encoder = tiny_encoder("openshape", projection_dim=CLIP_WIDTH, teacher_id="some/where")
    encoder.save_pretrained(folder / "encoder")
    PointCloudFeatureExtractor(num_points=64).save_pretrained(folder / "encoder")
    save_tiny_clip(folder / "clip")
    (folder / "shapes").mkdir()
    (folder / "shapes" / "cloud.xyz").write_text("".join(f"{i % 7} {i % 5} {i % 3}\n" for i in range(200)))
    assert mrd_hf("index", folder / "shapes", "-o", folder / "index", "--model", folder / "encoder") == 0
    return folder


def timed(*command, exit_code=0):
    """Seconds that a command takes."""
    started = time.perf_counter()
    assert mrd_hf(*command) == exit_code
    return time.perf_counter() - started


@pytest.mark.parametrize("server", [closed_port, silent_server])
def test_words_without_a_hub_end_soon_with_one_line(server, work, tmp_path, monkeypatch, capfd, caplog):
    classify = ("classify", work / "shapes", "--labels", "chair,mug", "--model", work / "encoder")
    search = ("search", work / "index", "a chair")
    # With a tower, for the time that all else takes, the second time without imports.
    seconds = [timed(*command, "--text-tower", work / "clip") for command in 2 * (classify, search)][2:]
    unknown_encoder = ("embed", work / "shapes", "-o", tmp_path / "e.parquet", "--model", "some/where")
    transformers_logging.disable_progress_bar()
    try:
        with server() as address:
            commands = zip((classify, search, unknown_encoder), (*seconds, 0), strict=True)
            for command, with_tower in commands:
                move_the_hub(monkeypatch, tmp_path, address)
                capfd.readouterr()
                assert timed(*command, exit_code=2) < with_tower + SOON
                (line,) = capfd.readouterr().err.splitlines()
                what = "cannot load the encoder" if command is unknown_encoder else "teacher"
                assert line.startswith(f"error: {what} 'some/where': no such folder, ")
                assert command is unknown_encoder or "--text-tower" in line
    finally:
        transformers_logging.enable_progress_bar()
    assert caplog.records == []
