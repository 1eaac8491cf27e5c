"""Pictures of any mode as a teacher sees them: RGB, on white where they are transparent."""

import numpy as np


# This file travels with checkpoints, whose other code does not need it: guarded, transformers does not ask for it.
try:
    from PIL import Image
except ImportError as error:
    raise ImportError(f"Reading images needs Pillow: pip install pillow ({error}).") from error


def flatten_onto_white(image: Image.Image) -> Image.Image:
    """The image in mode RGB, its transparent parts white (converting straight to RGB shows what lies under them)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        # 16 bits a pixel, of which Pillow would show all but the darkest 256 shades as white.
        image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = image.convert("RGBA")
    background = Image.new("RGBA", opaque.size, "white")
    return Image.alpha_composite(background, opaque).convert("RGB")
