"""Encoders whose transformer blocks compute in half precision or in eight bits; all else stays in float32.

Patches, positions, norms and the projection are little work, and where low precision loses most.
"""

import tempfile
from pathlib import Path

import onnx
import torch
from transformers import PreTrainedModel

from ..errors import UserError
from .network_graph import nodes_of_blocks, without_notes


QUANTIZER = "pip install 'mrd-hf[onnx]'"


def in_half_precision(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of an encoder as `from_pretrained(..., dtype=torch.float16)` loads it; softmax in float32.

    Args:
        model (`PreTrainedModel`): A `PointBertModel` or `Uni3DModel` in float32.
    """
    half = type(model).from_pretrained(
        None,
        config=model.config,
        state_dict=model.state_dict(),
        dtype=torch.float16,
        attn_implementation="eager",
    )
    return half.eval()


def in_eight_bits(network: onnx.ModelProto) -> onnx.ModelProto:
    """The network with the weights of its blocks' products as int8, a scale a column; activations become eight bits as
    they come.

    Weights take seven of the bits, since sums of two products overflow on CPUs without instructions for them.

    Args:
        network (`onnx.ModelProto`): As [`network_model`] makes it, with its metadata.

    Raises:
        UserError: onnxruntime, which does this, is missing.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise UserError(f"--dtype int8 needs onnxruntime: {QUANTIZER}") from None
    with tempfile.TemporaryDirectory() as folder, without_notes():
        file = Path(folder) / "network.onnx"
        quantize_dynamic(
            network,
            file,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=sorted(nodes_of_blocks(network)),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        return onnx.load(file)
