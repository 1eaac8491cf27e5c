"""Prompt templates that turn a class name into texts a teacher has seen the like of."""

SIMPLE_TEMPLATES = (
    "{}",
    "a {}.",
    "a photo of a {}.",
    "a picture of one {}.",
    "a 3D model of a {}.",
    "a rendering of a {}.",
    "a {} on a plain background.",
    "an object known as a {}.",
)
