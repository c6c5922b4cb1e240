"""Tables for the terminal, and as Markdown and CSV, in which names from data have no effect."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from rich.table import Table
from rich.text import Text

from mixseg.escaping import markdown_cell, printable

MISSING = "\N{EN DASH}"
"""Stands for a value that is not there."""


def percent(fraction: float | None, missing: str = MISSING) -> str:
    """A fraction in percent with two decimals."""
    return missing if fraction is None else f"{100 * fraction:.2f}"


def terminal_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str] | None],
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    fold: bool = False,
) -> Table:
    """A table whose first column is text and whose other columns are numbers.

    Args:
        head: Headings of the columns.
        rows: Cells; None draws a line across.
        title: Above the table.
        notes: Lines below it.
        fold: Break long cells in place of cutting them.
    """
    caption = Text("\n").join(Text(printable(line)) for line in notes) if notes else None
    table = Table(title=title, caption=caption, caption_justify="left")
    for index, name in enumerate(head):
        table.add_column(
            name,
            justify="right" if index else "left",
            overflow="fold" if fold else "ellipsis",
        )
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(*row)
    return table


def markdown_table(lines: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """A table whose first line is its heading.

    Args:
        lines: Cells, not yet escaped; as many in each line.
        numbers: Whether all columns but the first are aligned to the right.
    """
    head, *rows = ([markdown_cell(cell) for cell in line] for line in lines)
    rule = ["---", *(["---:" if numbers else "---"] * (len(head) - 1))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))


def csv_lines(lines: Iterable[Sequence[object]]) -> str:
    """Lines of CSV; names in them have gone through :func:`mixseg.escaping.csv_cell`."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows(lines)
    return content.getvalue()


class Exported(Protocol):
    """What can be written as a table."""

    def to_csv(self) -> str:
        """For spreadsheets."""

    def to_json(self) -> str:
        """For programs."""

    def to_markdown(self) -> str:
        """For documents."""


FORMATS: dict[str, Callable[[Exported], str]] = {
    ".csv": lambda table: table.to_csv(),
    ".json": lambda table: table.to_json(),
    ".md": lambda table: table.to_markdown(),
}
"""Ending of a file -> its content. Add an entry to add a format."""
