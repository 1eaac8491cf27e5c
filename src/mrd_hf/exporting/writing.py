"""Write an encoder's folder of files for other runtimes; it is complete or not there."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from transformers import PreTrainedModel

from ..data.class_texts import read_class_texts
from ..data.embedding.cached_teacher import check_class_texts_are_of
from ..encoder import Encoder
from ..errors import UserError
from ..files.atomic_folder import atomic_folder
from ..models.feature_extraction_point_cloud import SETTINGS
from ..models.label_ranking import DEFAULT_LOGIT_SCALE
from .checking import Agreement, check_files
from .description import (
    CLASSES_FILE,
    DESCRIPTION_FILE,
    ENCODER_FILE,
    METADATA_KEY,
    NETWORK_FILE,
    PROGRAM_FILE,
    SAMPLING_FILE,
    EncoderDescription,
)
from .network_graph import MAX_PROTOBUF, join, network_model, without_metadata
from .reduced_precision import in_eight_bits, in_half_precision
from .sampling_graph import Sampling, sampling_model
from .torch_program import program_of


Dtype = Literal["float32", "float16", "int8"]
DTYPES: tuple[Dtype, ...] = ("float32", "float16", "int8")
EXPORTED = ("point_bert", "uni3d")
BYTES = {"float32": 4, "float16": 2, "int8": 1}


@dataclass(frozen=True)
class Export:
    """What was written.

    Args:
        sizes (`dict[str, int]`): Bytes of each file.
        agreement ([`Agreement`]): How far its embeddings are from the encoder's.
    """

    sizes: dict[str, int]
    agreement: Agreement


def export_encoder(
    encoder: Encoder,
    folder: Path,
    dtype: Dtype = "float32",
    opset: int = 18,
    program: bool = False,
    class_texts: Path | None = None,
) -> Export:
    """Write `encoder.onnx` (points to embeddings), `network.onnx` (groups to embeddings), `sampling.onnx` (points to
    groups), and `encoder.json` about them; each is compared with the encoder before the folder is there.

    Args:
        encoder ([`Encoder`]): In float32 on the CPU.
        folder (`Path`): Replaced if it exists.
        dtype (`str`, defaults to `"float32"`): Of the transformer's blocks.
        opset (`int`, defaults to 18): Version of ONNX's operators, at least `LOWEST_OPSET`.
        program (`bool`, defaults to `False`): Whether to write `encoder.pt2`, a program of torch.export, as well.
        class_texts (`Path`, *optional*):
            Labels with their embeddings, as [`read_class_texts`] reads them, to lie beside the encoder.

    Raises:
        UserError: The encoder is a user's own, or too large for one file; class texts are of another space or width, a
            package is missing, or a file disagrees with the encoder.
    """
    model = encoder.model
    if model.config.model_type not in EXPORTED:
        raise UserError(
            f"{encoder.name} is a {model.config.model_type}, and only PointBERT and Uni3D are exported; "
            "torch.onnx.export writes a model of your own."
        )
    size = BYTES[dtype] * sum(parameter.numel() for parameter in model.parameters())
    if size > MAX_PROTOBUF:
        raise UserError(
            f"{encoder.name} has {size / 1e9:.1f} GB of weights in {dtype}, and an ONNX file holds at most 2 GB; give "
            "a smaller --dtype."
        )
    classes = None if class_texts is None else _classes(class_texts, encoder)
    description = describe(encoder, dtype, opset)
    with atomic_folder(folder) as temporary:
        network = _network(model, dtype, opset)
        sampling = sampling_model(Sampling.of(model.config), opset)
        for name, graph in (
            (SAMPLING_FILE, sampling),
            (NETWORK_FILE, network),
            (ENCODER_FILE, join(sampling, network)),
        ):
            graph.producer_name, graph.producer_version = "mrd-hf", ""
            graph.metadata_props.add(key=METADATA_KEY, value=json.dumps(description.to_dict()))
            onnx.save(graph, temporary / name)
        if program:
            torch.export.save(program_of(model), temporary / PROGRAM_FILE)
        agreement = check_files(temporary, model, exact=dtype == "float32")
        if classes is not None:
            (temporary / CLASSES_FILE).write_bytes(classes[1].astype("<f4").tobytes())
        sizes = {file.name: file.stat().st_size for file in sorted(temporary.glob("[!.]*"))}
        facts = {
            **description.to_dict(),
            "files": sizes,
            "classes": None if classes is None else _class_facts(*classes),
            "agreement": asdict(agreement),
        }
        (temporary / DESCRIPTION_FILE).write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")
    return Export(sizes, agreement)


def describe(encoder: Encoder, dtype: Dtype, opset: int) -> EncoderDescription:
    """What a user of the exported files has to know."""
    config, sampling = encoder.config, Sampling.of(encoder.config)
    return EncoderDescription(
        name=encoder.name,
        weights_sha256=encoder.sha256,
        model_type=config.model_type,
        dtype=dtype,
        opset=opset,
        input={name: getattr(encoder.extractor, name) for name in SETTINGS},
        sampling={**asdict(sampling), "group_channels": sampling.group_channels},
        embedding_dim=encoder.embedding_dim,
        logit_scale=DEFAULT_LOGIT_SCALE if config.logit_scale is None else config.logit_scale,
        teacher_id=config.teacher_id,
        teacher_revision=config.teacher_revision,
        text_tower_id=config.text_tower_id,
        config_sha256=encoder.config_sha256,
    )


def _network(model: PreTrainedModel, dtype: Dtype, opset: int) -> onnx.ModelProto:
    if dtype == "float16":
        return without_metadata(network_model(in_half_precision(model), opset))
    network = network_model(model, opset)
    return without_metadata(in_eight_bits(network) if dtype == "int8" else network)


def _classes(path: Path, encoder: Encoder) -> tuple[list[str], np.ndarray]:
    labels, embeds = read_class_texts(path)
    check_class_texts_are_of(path, f"those of {encoder.name}", encoder.teacher, encoder.text_tower)
    if embeds.shape[1] != encoder.embedding_dim:
        raise UserError(
            f"{path}: embeddings of width {embeds.shape[1]}, but the encoder's have {encoder.embedding_dim}; embed "
            "the labels with the encoder's own teacher."
        )
    return labels, embeds


def _class_facts(labels: list[str], embeds: np.ndarray) -> dict[str, Any]:
    return {"file": CLASSES_FILE, "dtype": "float32", "shape": list(embeds.shape), "labels": labels}
