"""The page and the Python package on the same files: the same points, or refused by both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mrd_hf.models.point_preparation import PointPreparation

from .widget_tool import WidgetTool


def input_settings(**changes: Any) -> dict[str, Any]:
    """What an encoder says of its input."""
    facts = {"num_points": 500, "normalize": True, "up_axis": "y", "encoder_up_axis": "y", "default_color": 0.4}
    return {**facts, **changes}


def write_files(folder: Path, suffix: str, contents: Mapping[str, str | bytes]) -> list[Path]:
    """A file of each content, by the files' stems."""
    files = [folder / f"{name}.{suffix}" for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return files


def assert_same_points(widget: WidgetTool, files: list[Path], **changes: Any) -> None:
    """That both read all files, to the same points; `changes` are of the settings."""
    facts = input_settings(**changes)
    found = widget.prepare(files, facts)
    preparation = PointPreparation(**facts)
    for file, values in zip(files, found, strict=True):
        assert not isinstance(values, str), (str(file), values)
        _assert_close(values, preparation.point_values(file)[0], str(file))


def assert_same_answers(widget: WidgetTool, files: list[Path], **changes: Any) -> dict[str, str]:
    """The same of files that may be refused, then by both: what the page says of those, by the files' stems."""
    facts = input_settings(**changes)
    found = widget.prepare(files, facts)
    preparation = PointPreparation(**facts)
    refused: dict[str, str] = {}
    for file, values in zip(files, found, strict=True):
        try:
            expected = preparation.point_values(file)[0]
        except ValueError as error:
            assert isinstance(values, str), (str(file), str(error))
            refused[file.stem] = values
        else:
            assert not isinstance(values, str), (str(file), values)
            _assert_close(values, expected, str(file))
    return refused


def _assert_close(values: np.ndarray, expected: np.ndarray, name: str) -> None:
    """Both of shape `(num_points, 6)`."""
    np.testing.assert_allclose(values[:, :3], expected[:, :3], atol=2e-6, err_msg=name)
    # A power is rounded otherwise, and then a colour may be the next one, of 255.
    np.testing.assert_allclose(values[:, 3:], expected[:, 3:], atol=1.01 / 255, err_msg=name)
    assert (np.abs(values[:, 3:] - expected[:, 3:]) > 1e-6).mean() < 0.01, name
