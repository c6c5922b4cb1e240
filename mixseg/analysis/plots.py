"""Whether charts can be drawn: matplotlib is the extra ``plots``."""

from __future__ import annotations

WITHOUT_PLOTS = "figures and charts are drawn with matplotlib: pip install 'mixseg[plots]'"
"""What to tell a person whose command has a chart to draw and nothing to draw it with."""


def plots_installed() -> bool:
    """Whether matplotlib is there and can be imported, which takes half a second."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True
