"""Pseudo-labels of the checkpoints of a run against the truth, class by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from mixseg.analysis.figures.figure import Drawn, Given, figure
from mixseg.charts import chart_name, class_colors, new_chart
from mixseg.config.values import Range
from mixseg.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixseg.analysis.pseudo_labels import Quality


@figure(
    "pseudo-labels",
    "accuracy, coverage and shares of a run's pseudo-labels, by class over its checkpoints",
    is_chart=True,
    datasets=1,
    runs=(1, 1),
    reads="checkpoints",
    images=100,
    counted=True,
)
def draw(given: Given, threshold: Annotated[float | None, Range(0, 1)] = None) -> Drawn:
    """Four charts with a line for each class, and one for all.

    Args:
        given: A run, its checkpoints and labeled images.
        threshold: [that of the run]

    Raises:
        DataError: No pixel of the images is labeled.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from mixseg.analysis.pseudo_labels import ALL, PseudoLabelCounts, label_image, threshold_of

    run, dataset = given.runs[0], given.dataset
    names = dataset.classes.names
    if threshold is None:
        threshold = threshold_of(run.settings)
    steps: list[int] = []
    found: list[list[Quality]] = []
    shown = len(given.shown)
    for number, opened in enumerate(given.checkpoints):
        step, predict, factors = opened()
        counts = PseudoLabelCounts(len(names), threshold)
        for done, index in enumerate(given.shown, start=1):
            image, truth = dataset.pair(index)
            labels, confidence, *_ = label_image(predict, image, run.settings, factors)
            counts.add(truth, labels[0].numpy(), confidence[0].numpy())
            given.advance(number * shown + done, len(given.checkpoints) * shown)
        if not counts.of_all().pixels:
            raise DataError(f"{dataset.root}: no pixel of the images is labeled")
        steps.append(step)
        found.append([*counts.of_classes(), counts.of_all()])

    chart = new_chart(11, 8)
    panels = {
        "right, % of the pseudo-labels": [[_percent(one.accuracy) for one in at] for at in found],
        f"above {threshold:g}, % of the pseudo-labels": [
            [_percent(one.coverage) for one in at] for at in found
        ],
        "share in the pseudo-labels / in the truth": [list(map(_ratio, at)) for at in found],
        "mean confidence less accuracy, points": [list(map(_excess, at)) for at in found],
    }
    colors = [*class_colors(dataset.classes.palette), "black"]
    for axes, (title, values) in zip(chart.subplots(2, 2).flat, panels.items(), strict=True):
        _draw_lines(axes, steps, values, colors)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("step")
        if "/" in title:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
    handles = chart.axes[0].get_lines()
    shown_names = [chart_name(name) for name in (*names, ALL)]
    chart.legend(handles, shown_names, loc="outside right center", fontsize="small")
    images = f"{shown} {given.datasets[0].title}"
    chart.suptitle(f"{chart_name(run.title)}, {images}")
    rows = [
        (run.title, images, step, name, *one)
        for step, at in zip(steps, found, strict=True)
        for name, one in zip((*names, ALL), at, strict=True)
    ]
    return Drawn(chart, ("run", "images", "step", "class", *HEAD), rows)


HEAD = (
    *("pixels", "share", "share in the truth", "accuracy", "recall", "above the threshold"),
    *("accuracy above the threshold", "mean confidence", "calibration error"),
)
"""Headings of the numbers of a class, in the order of ``Quality``."""


def _percent(share: float | None) -> float:
    return math.nan if share is None else 100 * share


def _ratio(quality: Quality) -> float:
    # A class that is never labeled has no place on a logarithmic axis.
    return quality.share / quality.truth if quality.share and quality.truth else math.nan


def _excess(quality: Quality) -> float:
    return _percent(quality.confidence) - _percent(quality.accuracy)


def _draw_lines(
    axes: Axes, steps: Sequence[int], values: Sequence[Sequence[float]], colors: Sequence[Any]
) -> None:
    """A line for each class, and a thick one for all; ``values`` has a row for each step."""
    for number, (line, color) in enumerate(zip(zip(*values, strict=True), colors, strict=True)):
        last = number == len(colors) - 1
        axes.plot(steps, line, color=color, marker="o", markersize=3, linewidth=2.5 if last else 1)
    axes.margins(x=0.02)
    axes.grid(alpha=0.3)
