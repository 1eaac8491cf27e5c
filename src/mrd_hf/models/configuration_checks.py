"""What must hold of the configuration of every encoder."""

from typing import Any

from .model_sources import check_text_tower_id


def check_encoder_config(config: Any, positive: tuple[str, ...] = (), shares: tuple[str, ...] = ()) -> None:
    """Raise a `ValueError` if fields do not fit together.

    Args:
        config (`PreTrainedConfig`): The encoder's.
        positive (`tuple[str, ...]`): Fields of its own that must be positive.
        shares (`tuple[str, ...]`): Fields of its own that must be in [0, 1).
    """
    check_text_tower_id(config.text_tower_id)
    if config.hidden_size % config.num_attention_heads != 0:
        raise ValueError(
            f"hidden_size ({config.hidden_size}) must be a multiple of num_attention_heads "
            f"({config.num_attention_heads})."
        )
    for name in ("num_hidden_layers", "num_patches", "patch_size", *positive):
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}.")
    if config.projection_dim is not None and config.projection_dim <= 0:
        raise ValueError(f"projection_dim must be positive or None, got {config.projection_dim}.")
    if config.logit_scale is not None and not 0 < config.logit_scale < float("inf"):
        raise ValueError(f"logit_scale must be positive or None, got {config.logit_scale}.")
    for name in ("attention_dropout", "drop_path_rate", "patch_dropout", *shares):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must be in [0, 1), got {getattr(config, name)}.")
