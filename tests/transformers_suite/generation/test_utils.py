"""Our models generate nothing."""


class GenerationTesterMixin:
    """No tests: transformers only checks that a model's tester has this base if the model generates."""
