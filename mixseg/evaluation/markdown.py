"""Text in Markdown tables."""

from __future__ import annotations

import html
import re

from mixseg.analysis.pictures import printable


def markdown_cell(text: str) -> str:
    """A name as it is: neither Markdown nor HTML in it has an effect."""
    escaped = html.escape(printable(text), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escaped)
