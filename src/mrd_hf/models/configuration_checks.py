"""What must hold of the configuration of every encoder that is a transformer over patches."""

from typing import Any


def check_patch_encoder(config: Any, positive: tuple[str, ...] = (), shares: tuple[str, ...] = ()) -> None:
    """Raise a `ValueError` if fields do not fit together.

    Args:
        config (`PointEncoderConfig`): The encoder's.
        positive (`tuple[str, ...]`): Fields of its own that must be positive.
        shares (`tuple[str, ...]`): Fields of its own that must be in [0, 1).
    """
    if config.hidden_size % config.num_attention_heads != 0:
        raise ValueError(
            f"hidden_size ({config.hidden_size}) must be a multiple of num_attention_heads "
            f"({config.num_attention_heads})."
        )
    for name in ("num_hidden_layers", "num_patches", "patch_size", *positive):
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}.")
    for name in ("attention_dropout", "drop_path_rate", "patch_dropout", *shares):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must be in [0, 1), got {getattr(config, name)}.")
