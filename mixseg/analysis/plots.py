"""Whether charts can be drawn: matplotlib is the extra ``plots``."""

from __future__ import annotations

from importlib.util import find_spec

WITHOUT_PLOTS = "figures and charts are drawn with matplotlib: pip install 'mixseg[plots]'"
"""What to tell a person whose command has a chart to draw and nothing to draw it with."""


def plots_installed() -> bool:
    """Whether matplotlib is there; it is not imported for the answer, which would take a second."""
    return find_spec("matplotlib") is not None
