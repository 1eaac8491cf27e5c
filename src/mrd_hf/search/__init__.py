"""Finding shapes among many by their embeddings."""

from .shape_index import Hit, ShapeIndex


__all__ = ["Hit", "ShapeIndex"]
