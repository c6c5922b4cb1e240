"""Figures of the papers, for any data set or run: every file of this folder adds its own."""

import importlib
import pkgutil

from mixseg.analysis.figures.figure import FIGURES

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "opening":  # which is not needed before one is drawn, and imports torch
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["FIGURES"]
