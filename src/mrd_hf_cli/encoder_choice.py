"""Whether a command's encoder is an ONNX file, which needs no torch: known before anything is imported."""

import argparse
import os


ENCODER_COMMANDS = ("classify", "embed", "index", "score", "search")
MODEL_VARIABLE = "MRD_MODEL"
ONNX_SUFFIX = ".onnx"


def names_onnx(options: argparse.Namespace) -> bool:
    """Whether the encoder that `--model` names, or else the environment, is an ONNX file."""
    if options.command not in ENCODER_COMMANDS:
        return False
    return (options.model or os.environ.get(MODEL_VARIABLE, "")).endswith(ONNX_SUFFIX)
