"""A field for a picture that reaches the page as it was uploaded."""

from typing import Any

import gradio as gr
from gradio.data_classes import ImageData


def picture_upload(**options: Any) -> gr.Image:
    """Gradio's field for pictures, of which the value is the path of the uploaded file.

    By itself it would decode what is uploaded, in any format, and convert it, before its format and size are looked
    at; transparency would be lost as well. Not a class of our own, for which Gradio writes a file into the package.

    Args:
        **options: Those of `gr.Image`.
    """
    field = gr.Image(**options, type="filepath")
    field.preprocess = _path  # type: ignore[method-assign]
    return field


def _path(payload: ImageData | None) -> str | None:
    return None if payload is None else payload.path
