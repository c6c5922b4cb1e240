"""Tables as files: Markdown and CSV, in which names from data have no effect."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from mixseg.escaping import markdown_cell


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
