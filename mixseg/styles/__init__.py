"""Styles give images the look of others before they are mixed (Tranheden & Olsson, 5.3.1).

A style is added by a file in this folder, or one given with ``--import``, that registers it with
:data:`mixseg.registry.STYLES`.
"""

from mixseg.styles.color_statistics import ColorStatistics
from mixseg.styles.fourier import FourierStyle
from mixseg.styles.style import Style

__all__ = ["ColorStatistics", "FourierStyle", "Style"]
