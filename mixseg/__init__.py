"""mixseg: semantic segmentation from few labeled and many unlabeled images."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixseg.api import Network, Run, evaluate, load, resume, train
    from mixseg.data.contract import ClassSet

__version__ = "0.2.0"

__all__ = ["ClassSet", "Network", "Run", "evaluate", "load", "resume", "train"]

logging.getLogger("mixseg").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import, and commands import this package first.
    if name == "ClassSet":
        return importlib.import_module("mixseg.data.contract").ClassSet
    if name in __all__:
        return getattr(importlib.import_module("mixseg.api"), name)
    if not name.startswith("_"):  # mixseg.mixing, mixseg.losses, ...
        try:
            return importlib.import_module(f"mixseg.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"mixseg.{name}":
                raise
    raise AttributeError(f"module 'mixseg' has no attribute {name!r}")
