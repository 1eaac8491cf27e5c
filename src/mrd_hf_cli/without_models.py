"""Modules of `mrd_hf` without its `__init__`, which registers the models and so imports torch.

That takes seconds, and half a gigabyte in every process; reading, drawing and preparing shapes needs nothing of it.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any


def import_without_models() -> None:
    """Put off what `import mrd_hf` does; its modules can be imported meanwhile.

    It is done once the package is asked for a name that it does not have yet. `import mrd_hf` alone asks for none, so
    that the Auto classes of transformers do not know the models: this is for a process of which all is known.
    """
    if "mrd_hf" in sys.modules:
        return
    spec = importlib.util.find_spec("mrd_hf")
    if spec is not None:
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _Unloaded
        sys.modules["mrd_hf"] = package


def is_without_models() -> bool:
    """Whether this process has put it off, and still does without."""
    return isinstance(sys.modules.get("mrd_hf"), _Unloaded)


class _Unloaded(ModuleType):
    """A package that has its place, and none of its names yet."""

    def __getattr__(self, name: str) -> Any:
        # Python itself looks for such names in any module, and goes without.
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]
        try:
            spec.loader.exec_module(self)
        except BaseException:
            # As after any import that fails: who imports it next is told why as well.
            sys.modules.pop(self.__name__, None)
            raise
        return getattr(self, name)
