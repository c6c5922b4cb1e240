"""Scores as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from mixseg.escaping import printable
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.protocols import Protocol, coverage_lines, mean_label, mean_over

ABSENT = "\N{EN DASH}"
"""Stands for the IoU of a class that neither predictions nor labels contain, or not judged."""


def scores_table(
    scores: Mapping[str, Scores],
    title: str | None = None,
    means: Protocol | None = None,
    *,
    mean: str = "mIoU",
    notes: Sequence[str] = (),
) -> Table:
    """Per-class IoU, mean IoU and pixel accuracy in percent, one column per network.

    Names are shown as they are: rich markup in them has no effect and control characters appear
    as escapes.

    Args:
        scores: Name of a network, such as ``student``, to its scores; at least one, all with the
            same classes.
        title: Heading of the table.
        means: Further means over some of the classes.
        mean: What the mean IoU is called.
        notes: Further lines below the table.
    """
    columns = list(scores.values())
    if not columns:
        raise ValueError("a table needs the scores of at least one network")
    if any(column.classes != columns[0].classes for column in columns):
        raise ValueError("networks with different classes do not fit into one table")
    unseen = [] if mean != "mIoU" else coverage_lines(scores)
    table = Table(
        title=title,
        caption=Text("\n").join(
            Text(printable(line)) for line in (_conditions(scores), *unseen, *notes)
        ),
        caption_justify="left",
    )
    table.add_column("class")
    for name in scores:
        table.add_column(name, justify="right")
    for index, name in enumerate(columns[0].classes):
        table.add_row(name, *(_percent(column.iou[index]) for column in columns))
    table.add_section()
    label = mean_label(mean, columns, columns[0].classes) if mean == "mIoU" else mean
    table.add_row(label, *(_percent(column.miou) for column in columns))
    for name, classes in (means or {}).items():
        label = mean_label(name, columns, classes)
        table.add_row(label, *(_percent(mean_over(column, classes)) for column in columns))
    table.add_row("pixel accuracy", *(_percent(column.pixel_accuracy) for column in columns))
    return table


def _conditions(scores: Mapping[str, Scores]) -> str:
    """How the numbers were measured: one line if all networks agree, else one line for each."""
    lines = {
        name: f"%, {one.images} images, resolution {one.resolution}, {one.mode}"
        for name, one in scores.items()
    }
    distinct = set(lines.values())
    if len(distinct) == 1:
        return distinct.pop()
    return "; ".join(f"{name}: {line}" for name, line in lines.items())


def _percent(fraction: float | None) -> str:
    return ABSENT if fraction is None else f"{100 * fraction:.2f}"
