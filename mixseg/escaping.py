"""Names as they can be shown: class names, paths and headings come from data and must not act.

A name may hold terminal sequences, HTML, Markdown, a spreadsheet's formula or a chart's; each
function makes it harmless in one place.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterable


def printable(text: str) -> str:
    """For terminals and pictures: control, formatting and other invisible characters as escapes.

    Terminal sequences, line breaks and characters that reverse the direction of writing come from
    data just as letters do, and must not act on what surrounds them.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def without_middle(text: str, kept: int) -> str:
    """The first and last characters, ``kept`` in all."""
    return f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"


def shell_line(words: Iterable[str]) -> str:
    """A command that people copy: bash reads it back to these words, and nothing in them acts."""

    def quoted(word: str) -> str:
        if word.isprintable():
            return shlex.quote(word)
        chars = (
            re.sub(r"(['\\])", r"\\\1", char)
            if char.isprintable()
            else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
            for char in word
        )
        return f"$'{''.join(chars)}'"

    return " ".join(map(quoted, words))


def markdown_cell(text: str) -> str:
    """For a cell of a Markdown table: neither Markdown nor HTML in it has an effect."""
    escaped = html.escape(printable(text), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escaped)


def csv_cell(text: str) -> str:
    """For a cell of a CSV file: a spreadsheet does not take it for a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def chart_text(text: str) -> str:
    """For a chart: no dollar sign starts a formula, and no leading underscore hides an entry."""
    return printable(text).replace("$", r"\$").lstrip("_") or "-"
