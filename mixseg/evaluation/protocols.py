"""Which classes count in tables of domain adaptation (Tranheden & Olsson, Tables 4.3 and 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixseg.data.synthia import ABSENT
from mixseg.escaping import markdown_cell
from mixseg.evaluation.confusion import Scores

ABSENT_IN_SYNTHIA = ABSENT
LEFT_OUT_OF_13 = ("wall", "fence", "pole")

SHORT_NAMES = {
    "road": "Road",
    "sidewalk": "SW",
    "building": "Build",
    "wall": "Wall",
    "fence": "Fence",
    "pole": "Pole",
    "traffic light": "TL",
    "traffic sign": "TS",
    "vegetation": "Veg",
    "terrain": "Terrain",
    "sky": "Sky",
    "person": "Person",
    "rider": "Rider",
    "car": "Car",
    "truck": "Truck",
    "bus": "Bus",
    "train": "Train",
    "motorcycle": "MC",
    "bicycle": "Bike",
}
"""Columns of the thesis' tables."""

Protocol = Mapping[str, Sequence[str]]
"""Name of a mean -> the classes that it is taken over."""


def protocol(source: str | None, classes: Sequence[str]) -> Protocol:
    """The means that are usual for a source beside the one over all classes.

    The network has all classes, and what it takes for an absent one counts against the class that
    it is, as in the thesis: only the mean leaves classes out.

    Args:
        source: Layout of the source domain, or None.
        classes: Names of the network's classes.
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
    pairs = zip(scores.classes, scores.iou, strict=True)
    values = [value for name, value in pairs if name in classes and value is not None]
    return sum(values) / len(values) if values else None


def mean_label(mean: str, scores: Sequence[Scores], classes: Sequence[str]) -> str:
    """The name of a mean over some classes, with their number where not all of them count."""
    covered = covered_classes(scores, classes)
    return f"{mean} ({covered})" if covered else mean


def covered_classes(scores: Sequence[Scores], classes: Sequence[str]) -> str:
    """Such as ``17 of 19 classes``, those that have an IoU; empty where all have one."""
    counts = [
        sum(
            name in classes and iou is not None
            for name, iou in zip(one.classes, one.iou, strict=True)
        )
        for one in scores
    ]
    if not counts or min(counts) == len(classes):
        return ""
    fewest, most = min(counts), max(counts)
    number = str(most) if fewest == most else f"{fewest} to {most}"
    return f"{number} of {len(classes)} classes"


def coverage_lines(scores: Mapping[str, Scores]) -> list[str]:
    """What means leave out, one line for each network unless all agree."""
    lines = {name: one.coverage() for name, one in scores.items()}
    if len(set(lines.values())) == 1:
        return [line for line in lines.values() if line][:1]
    return [f"{name}: {line}" for name, line in lines.items() if line]


def paper_table(scores: Mapping[str, Scores], source: str | None) -> str:
    """A Markdown table with one row per network and the columns of the thesis' tables.

    Args:
        scores: Name of the row -> its scores, at least one, all with the same classes.
        source: Layout of the source domain; ``synthia`` gives the columns of Table 4.4, where
            starred classes are not in the starred mean, after the mean over all 19.
    """
    classes = next(iter(scores.values())).classes
    means = protocol(source, classes)
    shown = [name for name in classes if not means or name not in ABSENT_IN_SYNTHIA]
    starred = LEFT_OUT_OF_13 if means else ()
    heads = [markdown_cell(SHORT_NAMES.get(name, name)) + "*" * (name in starred) for name in shown]
    heads += [*(["mIoU-19", "mIoU* (13)", "mIoU (16)"] if means else ["mIoU"])]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
    for row, one in scores.items():
        by_name = dict(zip(one.classes, one.iou, strict=True))
        values = [by_name[name] for name in shown] + [one.miou]
        values += [mean_over(one, means[name]) for name in ("mIoU-13", "mIoU-16") if means]
        lines.append(f"| {markdown_cell(row)} | {' | '.join(map(_percent, values))} |")
    legend = f"The network has {len(classes)} classes."
    if means:
        legend += " The mean mIoU* leaves the starred columns out."
    legend += "".join(f" {markdown_cell(line)}." for line in coverage_lines(scores))
    return "\n".join([*lines, "", legend]) + "\n"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
