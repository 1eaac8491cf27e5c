"""A checkpoint's handler for Hugging Face's Inference Endpoints: one shape in, scores for labels or an embedding out.

    curl $ENDPOINT -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d '{
        "inputs": {"file": "<base64 of a GLB>", "format": "glb"},
        "parameters": {"candidate_labels": ["chair", "mug"], "top_k": 1}}'

`inputs` is one of
- `{"file": base64, "format": "glb"}`, also of gltf, obj, off, ply, stl, 3mf, zip, npy, npz, pcd, xyz,
  and of dae, usd, usda, usdc, usdz, las, laz where the packages of mrd-hf's extra `formats` are installed;
- base64 alone, or bytes, of a GLB, PLY or NPY, or of another with `"format"` among the parameters;
- `{"points": [[x, y, z], ...], "colors": [[r, g, b], ...]}`, colors as integers in 0..255 or numbers in 0..1, or a
  list of points alone, of 3 or 6 numbers each; integers that are all 0 or 1 are read as numbers in 0..1;
- `{"url": "https://..."}`, if the endpoint has an allow-list of hosts, MRD_URL_HOSTS.

`parameters`: `candidate_labels`, `hypothesis_template` (or a list of them), `class_embeds`, `top_k`, `up_axis`;
without labels, `normalize`. A file must have everything in it: one that names others is refused.

What is wrong with a request is a [`RequestError`], whose message the endpoint answers with, as status 400.

Settings, as environment variables: MRD_MAX_BYTES of a file, MRD_TIMEOUT in seconds for reading it, MRD_MAX_MEMORY in
bytes for reading it, MRD_URL_HOSTS (separated by commas), MRD_TEXT_TOWER, a folder or Hub id instead of the teacher's
that the encoder names.

This file goes into a checkpoint's folder, with isolation.py and shape_reading.py, and imports nothing of mrd_hf.
"""

import base64
import binascii
import importlib.util
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import pipeline


logger = logging.getLogger(__name__)

TASK = "zero-shot-point-cloud-classification"
MAX_POINTS = 1_000_000
MAX_LABELS = 1000
MAX_LABEL_LENGTH = 200
# Labels times templates: each is a run of the text tower.
MAX_TEXTS = 2000
PARAMETERS = ("candidate_labels", "hypothesis_template", "class_embeds", "top_k", "up_axis", "normalize", "format")
MAGIC = {b"glTF": "glb", b"ply\n": "ply", b"ply\r": "ply", b"\x93NUM": "npy"}


class RequestError(ValueError):
    """What is wrong with a request; the message is for who sent it.

    Args:
        message (`str`)
        status (`int`, defaults to 400): Of HTTP, for servers that pass it on.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Shape(NamedTuple):
    """A request's shape.

    Args:
        points (`np.ndarray` of shape `(num_points, 3)` or `(num_points, 6)`)
        colors (`np.ndarray` of shape `(num_points, 3)`, *optional*)
        up_axis (`str`, *optional*): As its file says.
        warnings (sequence of `str`): What of its file could not be read, or how its colors were taken.
    """

    points: np.ndarray
    colors: np.ndarray | None = None
    up_axis: str | None = None
    warnings: Sequence[str] = ()


class EndpointHandler:
    """Classifies and embeds shapes with the checkpoint in a folder.

    Args:
        path (`str`): The checkpoint's folder.
    """

    def __init__(self, path: str = "") -> None:
        self.max_bytes = int(os.environ.get("MRD_MAX_BYTES", 32 * 2**20))
        self.hosts = [host.strip().lower() for host in os.environ.get("MRD_URL_HOSTS", "").split(",") if host.strip()]
        folder = Path(path).resolve()
        self.reader = _isolation().IsolatedReader(
            str(folder / "shape_reading.py"),
            str(folder),
            timeout=float(os.environ.get("MRD_TIMEOUT", 20)),
            memory=int(os.environ.get("MRD_MAX_MEMORY", 3 * 2**30)),
        )
        self.reader.start()
        device = 0 if torch.cuda.is_available() else -1
        self.classify = pipeline(
            TASK, model=path, trust_remote_code=True, device=device, text_tower=os.environ.get("MRD_TEXT_TOWER")
        )
        self.extractor = self.classify.feature_extractor
        try:
            self.has_text_tower = self.classify.text_tower is not None
        except (ValueError, OSError) as error:
            self.has_text_tower = False
            logger.warning(f"labels need class_embeds: {error}")

    def __call__(self, data: dict[str, Any]) -> list[dict[str, Any]] | dict[str, Any]:
        """Answer one request.

        Args:
            data (`dict`): `inputs` and `parameters`, see above.

        Returns:
            With labels a list of `{"label": str, "score": float}`, highest first; without, `{"embedding": [float]}`.
            Of a file that could be read only in part, or colors that can be taken in two ways, the object, or the
            first of the list, has `warnings`, a list of `str`.

        Raises:
            RequestError: when the request cannot be answered; the message says why.
        """
        try:
            parameters = self.checked_parameters(data)
            shape = self.read(data.get("inputs"), parameters.pop("format", None))
            parameters.setdefault("up_axis", shape.up_axis)
            try:
                answer = self.run(shape.points, shape.colors, parameters)
            except (ValueError, TypeError) as error:
                raise RequestError(_for_sender(error)) from error
            if shape.warnings:
                (answer[0] if isinstance(answer, list) else answer)["warnings"] = list(shape.warnings)
            return answer
        except RequestError:
            raise
        except Exception:
            # Its text may tell of the server; it is for the log.
            logger.exception("a request failed")
            raise RequestError("the request failed; the endpoint's log has the reason.", 500) from None

    def run(
        self, points: np.ndarray, colors: np.ndarray | None, parameters: dict[str, Any]
    ) -> list[dict[str, Any]] | dict[str, Any]:
        if "candidate_labels" in parameters:
            shape = {"points": points, "colors": colors}
            scores: list[dict[str, Any]] = self.classify(shape, **parameters)
            return scores
        inputs = self.extractor([points], None if colors is None else [colors], up_axis=parameters.get("up_axis")).to(
            self.classify.device
        )
        with torch.no_grad():
            embeds = self.classify.model.get_point_features(**inputs)[0].float()
        if parameters.get("normalize"):
            embeds = torch.nn.functional.normalize(embeds, dim=-1)
        return {"embedding": embeds.tolist()}

    def checked_parameters(self, data: Any) -> dict[str, Any]:
        """The request's parameters, if there is nothing wrong with them, however much there may be of them."""
        if not isinstance(data, dict):
            raise RequestError("expected an object with inputs and parameters.")
        parameters = data.get("parameters")
        if parameters is None:
            parameters = {}
        if not isinstance(parameters, dict):
            raise RequestError("parameters must be an object.")
        parameters = dict(parameters)
        unknown = sorted(str(name)[:50] for name in parameters if name not in PARAMETERS)
        if unknown:
            raise RequestError(f"there is no parameter '{unknown[0]}'; known are {', '.join(PARAMETERS)}.")
        if parameters.get("up_axis") not in (None, "y", "z"):
            raise RequestError("up_axis must be 'y' or 'z'.")
        parameters = {name: value for name, value in parameters.items() if value is not None}
        if "candidate_labels" not in parameters:
            useless = sorted(set(parameters) & {"hypothesis_template", "class_embeds", "top_k"})
            if useless:
                raise RequestError(f"{useless[0]} is for candidate_labels, and there are none.")
            return parameters
        if "normalize" in parameters:
            raise RequestError("normalize is for embeddings; leave out candidate_labels.")
        parameters["candidate_labels"] = labels = _checked_labels(parameters["candidate_labels"])
        templates = parameters.get("hypothesis_template", "{}")
        templates = templates if isinstance(templates, list) else [templates]
        _check_texts("hypothesis_template", templates)
        if len(labels) * len(templates) > MAX_TEXTS:
            raise RequestError(f"labels times templates are {len(labels) * len(templates)}; at most {MAX_TEXTS}.", 413)
        if "class_embeds" in parameters:
            width = self.classify.encoder_config.embedding_dim
            parameters["class_embeds"] = _matrix(parameters["class_embeds"], "class_embeds", MAX_LABELS, (width,))
        elif not self.has_text_tower:
            raise RequestError("this endpoint has no text tower: give class_embeds, a row for each label.")
        top_k = parameters.get("top_k")
        if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
            raise RequestError("top_k must be a whole number from 1 on.")
        return parameters

    def read(self, inputs: Any, file_format: Any) -> Shape:
        """The shape, from its file or as it is given."""
        if isinstance(inputs, str) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", inputs):
            inputs = {"url": inputs}
        if isinstance(inputs, (str, bytes, bytearray, memoryview)):
            inputs = {"file": inputs, "format": file_format}
        elif isinstance(inputs, list):
            inputs = {"points": inputs}
        if not isinstance(inputs, dict):
            raise RequestError("inputs must be a file (base64 or bytes), a list of points, or an object with one.")
        kinds = [kind for kind in ("file", "points", "url") if inputs.get(kind) is not None]
        if len(kinds) != 1:
            raise RequestError("inputs must have one of file, points and url.")
        if kinds == ["points"]:
            return _cloud(inputs["points"], inputs.get("colors"))
        if kinds == ["url"]:
            if not self.hosts:
                raise RequestError("this endpoint fetches no URLs; send the file.", 403)
            if not isinstance(inputs["url"], str) or len(inputs["url"]) > 2048:
                raise RequestError("url must be a string, of at most 2048 characters.")
            request = {"url": inputs["url"], "hosts": self.hosts, "max_bytes": self.max_bytes, "format": ""}
            return self.read_elsewhere(request)
        content = self.decoded(inputs["file"])
        known = inputs.get("format") or file_format or MAGIC.get(content[:4])
        if not isinstance(known, str):
            raise RequestError("format is missing: say what kind of file it is, such as 'obj'.")
        known = known.lower().lstrip(".")
        if not re.fullmatch("[a-z0-9]{1,8}", known):
            raise RequestError("format must be a file's suffix, such as 'glb'.")
        return self.read_elsewhere({"format": known}, content)

    def read_elsewhere(self, request: dict[str, Any], content: bytes | None = None) -> Shape:
        """What a file holds, read in a process of its own; see shape_reading.py."""
        with tempfile.TemporaryDirectory(prefix="shape-", ignore_cleanup_errors=True) as folder:
            if content is not None:
                Path(folder, f"shape.{request['format']}").write_bytes(content)
            limits = {"num_points": self.extractor.num_points, "max_points": MAX_POINTS}
            parts = {"keep_collision": self.extractor.keep_collision, "skip_parts": self.extractor.skip_parts}
            try:
                answer = self.reader.ask({**request, **limits, "parts": parts, "folder": folder})
            except TimeoutError:
                raise RequestError(f"the shape could not be read within {self.reader.timeout:g} s.", 408) from None
            except MemoryError:
                raise RequestError("the shape takes too much memory to read.", 413) from None
            except EOFError:
                raise RequestError("the shape cannot be read: it took too much memory, or broke its reader.") from None
            if "error" in answer:
                raise RequestError(answer["error"], answer["status"])
            points, colors = Path(folder, "points.npy"), Path(folder, "colors.npy")
            rgb = np.load(colors) if colors.exists() else None
            return Shape(np.load(points), rgb, answer["up_axis"], answer["warnings"])

    def decoded(self, file: Any) -> bytes:
        """A file's bytes, from bytes or base64 (a `data:` URL as well)."""
        if isinstance(file, str):
            if len(file) > self.max_bytes * 4 // 3 * 1.1 + 1000:  # line breaks and the like
                raise RequestError(f"the file has more than {self.max_bytes:,} bytes.", 413)
            text = file.partition(",")[2] if file.startswith("data:") else file
            try:
                file = base64.b64decode("".join(text.split()), validate=True)
            except (binascii.Error, ValueError) as error:
                raise RequestError(f"the file is not valid base64 ({error}).") from None
        if not isinstance(file, (bytes, bytearray, memoryview)):
            raise RequestError("file must be a string of base64.")
        if len(file) > self.max_bytes:
            raise RequestError(f"the file has {len(file):,} bytes; at most {self.max_bytes:,} are taken.", 413)
        if len(file) == 0:
            raise RequestError("the file is empty.")
        return bytes(file)


def _isolation() -> Any:
    """The module beside this file, by its path: this file itself is loaded under a name that others cannot import."""
    spec = importlib.util.spec_from_file_location("isolation", Path(__file__).with_name("isolation.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _checked_labels(labels: Any) -> list[str]:
    if isinstance(labels, str):  # as query parameters have them
        labels = [label.strip() for label in labels[: MAX_LABELS * MAX_LABEL_LENGTH].split(",")]
    if not isinstance(labels, list) or not labels:
        raise RequestError("candidate_labels must be a list of strings, with at least one.")
    if len(labels) > MAX_LABELS:
        raise RequestError(f"there are {len(labels):,} candidate_labels; at most {MAX_LABELS:,} are taken.", 413)
    _check_texts("candidate_labels", labels)
    return labels


def _check_texts(name: str, texts: list[Any]) -> None:
    if not texts or len(texts) > MAX_TEXTS:
        raise RequestError(f"{name} must be between 1 and {MAX_TEXTS}.")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise RequestError(f"{name} must be strings that are not blank.")
        if len(text) > MAX_LABEL_LENGTH:
            raise RequestError(f"{name} of {len(text):,} characters; at most {MAX_LABEL_LENGTH} are taken.", 413)
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can hold
            raise RequestError(f"{name} must be valid Unicode.") from None


def _cloud(points: Any, colors: Any) -> Shape:
    """The shape in lists of points and of colors, or of both in one."""
    xyz = _matrix(points, "points", MAX_POINTS, (3, 6))
    if xyz.shape[1] == 6:
        if colors is not None:
            raise RequestError("the colors are given twice; leave out colors, or give points of 3 numbers.")
        # The type says what colors are, and coordinates beside them are of another.
        xyz, colors = xyz[:, :3], [row[3:] for row in points]
    if colors is None:
        return Shape(xyz)
    rgb = _matrix(colors, "colors", MAX_POINTS, (3,))
    if rgb.dtype == np.int64 and rgb.min() >= 0 and rgb.max() == 1:
        # JSON.stringify writes 1.0 as 1, and nobody means a cloud that is black but for a 255th.
        warning = "all colors are 0 or 1, so they were read as numbers in 0..1, not as integers in 0..255"
        return Shape(xyz, rgb.astype(np.float64), warnings=[warning])
    return Shape(xyz, rgb)


def _matrix(rows: Any, name: str, max_rows: int, widths: tuple[int, ...]) -> np.ndarray:
    """Numbers from nested lists: of the type that they are written in, integers or floats."""
    if not isinstance(rows, list) or not rows:
        raise RequestError(f"{name} must be a list of rows of numbers.")
    if len(rows) > max_rows:
        raise RequestError(f"{name} has {len(rows):,} rows; at most {max_rows:,} are taken.", 413)
    width = len(rows[0]) if isinstance(rows[0], list) else 0
    if width not in widths or not all(isinstance(row, list) and len(row) == width for row in rows):
        raise RequestError(f"{name} must be rows of {' or '.join(map(str, widths))} numbers.")
    kinds = {type(value) for row in rows for value in row}
    if not kinds <= {int, float}:
        raise RequestError(f"{name} must be numbers.")
    try:
        array = np.array(rows, dtype=np.float64 if float in kinds else np.int64)
    except OverflowError:
        raise RequestError(f"{name} has a number that is too large.") from None
    if not np.isfinite(array).all():
        raise RequestError(f"{name} has a number that is not finite.")
    return array


def _for_sender(error: Exception) -> str:
    """The pipeline's message, in the request's words."""
    return re.sub(r"^(shape|points\[0\])\b", "the shape", str(error))
