"""The licence of weights that were trained further, for their card."""

from contextlib import suppress
from typing import Any

import yaml
from huggingface_hub import metadata_load
from transformers.utils import cached_file

from ..models.model_sources import find_model


OWN: dict[str, Any] = {"license": "apache-2.0"}
# As converted encoders whose authors do not say.
NOT_SAID: dict[str, Any] = {"license": "unknown"}


def license_fields(encoder: str | None) -> dict[str, Any]:
    """Fields of a card's metadata that say the licence: that of the encoder that a network started from.

    Args:
        encoder (`str`, *optional*): A folder, or an id on the Hub, also as `id@revision`.

    Returns:
        `dict[str, str]`: The `license`, "unknown" where the encoder's card does not say one, and where it is "other"
        its `license_name` and `license_link`. Apache-2.0 without an encoder.
    """
    if encoder is None:
        return OWN
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError, yaml.YAMLError):  # the card may be by another hand, or not to be had
        source = find_model(encoder, what="encoder")
        path = cached_file(source.path, "README.md", _raise_exceptions_for_missing_entries=False, **source.arguments)
        found = (metadata_load(path) or {}) if path is not None else {}
    if not isinstance(found.get("license"), str):
        return NOT_SAID
    fields = {"license": found["license"]}
    # A link that is no address is to a file beside the encoder, and not beside what is made of it.
    fields |= {name: value for name in ("license_name", "license_link") if isinstance(value := found.get(name), str)}
    if not fields.get("license_link", "").startswith("https://"):
        fields.pop("license_link", None)
    return fields
