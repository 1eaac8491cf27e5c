"""Modules of `mrd_hf` without its `__init__`, which registers the models and so imports torch.

That takes seconds, and half a gigabyte in every process; reading, drawing and preparing shapes needs nothing of it.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any


def import_without_models() -> None:
    """Put off what `mrd_hf` imports until one of its own names is asked for; its modules can be imported before."""
    if "mrd_hf" in sys.modules:
        return
    spec = importlib.util.find_spec("mrd_hf")
    if spec is not None:
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _Unloaded
        sys.modules["mrd_hf"] = package


class _Unloaded(ModuleType):
    """A package that has its place, and none of its names yet."""

    def __getattr__(self, name: str) -> Any:
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        spec.loader.exec_module(self)
        return getattr(self, name)
