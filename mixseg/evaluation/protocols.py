"""Tables of scores, and the means of domain adaptation (Tranheden & Olsson, Tables 4.3, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.synthia import ABSENT as ABSENT_IN_SYNTHIA
from mixseg.tables import percent, terminal_table
from mixseg.terminal import markdown_cell

if TYPE_CHECKING:
    from mixseg.evaluation.scores import Scores

LEFT_OUT_OF_13 = ("wall", "fence", "pole")

_SHORT = (
    "Road", "SW", "Build", "Wall", "Fence", "Pole", "TL", "TS", "Veg", "Terrain", "Sky", "Person",
    "Rider", "Car", "Truck", "Bus", "Train", "MC", "Bike",
)  # fmt: skip
SHORT_NAMES = dict(zip(CITYSCAPES.names, _SHORT, strict=True))
"""Columns of the thesis' tables."""

Protocol = Mapping[str, Sequence[str]]
"""Name of a mean -> the classes that it is taken over."""


def protocol(source: str | None, classes: Sequence[str]) -> Protocol:
    """The means that are usual for a source domain beside the one over all classes.

    The network has all classes, and a pixel that it takes for an absent one is wrong, as in the
    thesis: only the mean leaves classes out.
    """
    left_out = {*ABSENT_IN_SYNTHIA, *LEFT_OUT_OF_13}
    if source != "synthia" or not left_out <= set(classes):
        return {}
    return {
        "mIoU-16": [name for name in classes if name not in ABSENT_IN_SYNTHIA],
        "mIoU-13": [name for name in classes if name not in left_out],
    }


def mean_over(scores: Scores, classes: Sequence[str]) -> float | None:
    """Mean IoU over some classes, those without an IoU left out; None if none has one."""
    by_class = scores.by_class.items()
    values = [iou for name, iou in by_class if name in classes and iou is not None]
    return sum(values) / len(values) if values else None


def covered_classes(scores: Sequence[Scores], classes: Sequence[str]) -> str:
    """Such as ``17 of 19 classes``, those that have an IoU; empty where all have one."""
    counts = [
        sum(name in classes and iou is not None for name, iou in one.by_class.items())
        for one in scores
    ]
    if not counts or min(counts) == len(classes):
        return ""
    fewest, most = min(counts), max(counts)
    number = str(most) if fewest == most else f"{fewest} to {most}"
    return f"{number} of {len(classes)} classes"


def coverage_lines(scores: Mapping[str, Scores]) -> list[str]:
    """What means leave out, one line for each network unless all agree."""
    return _once({name: one.coverage() for name, one in scores.items()})


def _once(lines: Mapping[str, str]) -> list[str]:
    """The line of all networks where they agree, else one for each; empty ones are left out."""
    distinct = set(lines.values())
    if len(distinct) > 1:
        return [f"{name}: {line}" for name, line in lines.items() if line]
    return [line for line in distinct if line]


def paper_table(scores: Mapping[str, Scores], source: str | None) -> str:
    """A Markdown table with one row per network and the columns of the thesis' tables.

    All have the same classes. The source domain ``synthia`` gives the columns of Table 4.4, where
    starred classes are not in the starred mean, after the mean over all 19.
    """
    classes = next(iter(scores.values())).classes
    means = protocol(source, classes)
    shown = [name for name in classes if not means or name not in ABSENT_IN_SYNTHIA]
    starred = LEFT_OUT_OF_13 if means else ()
    heads = [markdown_cell(SHORT_NAMES.get(name, name)) + "*" * (name in starred) for name in shown]
    heads += ["mIoU-19", "mIoU* (13)", "mIoU (16)"] if means else ["mIoU"]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
    for row, one in scores.items():
        values = [one.by_class[name] for name in shown] + [one.miou]
        values += [mean_over(one, means[name]) for name in ("mIoU-13", "mIoU-16") if means]
        cells = " | ".join(percent(value, missing="-") for value in values)
        lines.append(f"| {markdown_cell(row)} | {cells} |")
    legend = f"The network has {len(classes)} classes."
    if means:
        legend += " The mean mIoU* leaves the starred columns out."
    legend += "".join(f" {markdown_cell(line)}." for line in coverage_lines(scores))
    return "\n".join([*lines, "", legend]) + "\n"


def scores_table(
    scores: Mapping[str, Scores],
    title: str | None = None,
    means: Protocol | None = None,
    *,
    mean: str = "mIoU",
    notes: Sequence[str] = (),
) -> Table:
    """Per-class IoU, mean IoU and pixel accuracy in percent, one column per network.

    Args:
        scores: Name of a network, such as ``student`` -> its scores; at least one, all with the
            same classes.
        title: Heading of the table.
        means: Further means over some of the classes.
        mean: What the mean IoU is called.
        notes: Further lines below the table.
    """
    columns = list(scores.values())
    if not columns:
        raise ValueError("a table needs the scores of at least one network")
    classes = columns[0].classes
    if any(column.classes != classes for column in columns):
        raise ValueError("networks with different classes do not fit into one table")

    def label(name: str, over: Sequence[str]) -> str:
        covered = covered_classes(columns, over)
        return f"{name} ({covered})" if covered else name

    rows: list[Sequence[str] | None] = [
        (name, *(percent(column.iou[index]) for column in columns))
        for index, name in enumerate(classes)
    ]
    over_all = label(mean, classes) if mean == "mIoU" else mean
    rows += [None, (over_all, *(percent(column.miou) for column in columns))]
    for name, some in (means or {}).items():
        rows.append((label(name, some), *(percent(mean_over(one, some)) for one in columns)))
    rows.append(("pixel accuracy", *(percent(column.pixel_accuracy) for column in columns)))
    conditions = {
        name: f"%, {one.images} images, resolution {one.resolution}, {one.mode}"
        for name, one in scores.items()
    }
    unseen = coverage_lines(scores) if mean == "mIoU" else []
    said = ["; ".join(_once(conditions)), *unseen, *notes]
    return terminal_table(["class", *scores], rows, title=title, notes=said)
