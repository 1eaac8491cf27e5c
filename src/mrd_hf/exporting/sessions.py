"""Sessions of onnxruntime, and the description in an ONNX file. Imports neither torch nor transformers."""

import os
from typing import TYPE_CHECKING

from ..errors import UserError


if TYPE_CHECKING:
    from onnxruntime import InferenceSession


INSTALL = "pip install 'mrd-hf[onnx]'"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
ERRORS_ALONE = 3


def open_session(path: str | os.PathLike, device: str = "cpu") -> "InferenceSession":
    """Load an ONNX file.

    Args:
        path (`str` or `Path`)
        device (`str`, defaults to `"cpu"`): `"cpu"`, or `"cuda"` with onnxruntime's build for it.

    Raises:
        UserError: There is no such file, onnxruntime or its build for the device is missing, or it cannot load it.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file; expected an encoder that `mrd-hf export` wrote.")
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: to run ONNX files takes onnxruntime: {INSTALL}") from None
    available = onnxruntime.get_available_providers()
    provider = PROVIDERS.get(device)
    if provider not in available:
        names = ", ".join(name for name, known in PROVIDERS.items() if known in available)
        raise UserError(f"onnxruntime cannot compute on the device {device} here; it can on {names}.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ALONE
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[provider])
    except Exception as error:  # of classes of its own, one for each code
        raise UserError(f"{path}: onnxruntime cannot load it ({error}).") from None
    # A provider that was built in and whose libraries are missing is left out, with a warning alone.
    if provider not in session.get_providers():
        raise UserError(
            f"onnxruntime has {provider} but cannot load its libraries here, such as those of CUDA and cuDNN; install "
            "the versions that it needs, or compute on the device cpu."
        )
    return session
