"""How often classes occur, data sets side by side (Tranheden & Olsson, Figure 3.9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mixseg.analysis.charts import chart_name
from mixseg.analysis.figures.request import (
    Drawn,
    Request,
    ShownDataset,
    csv_table,
    drawn_chart,
)
from mixseg.data.class_maps import built_in_map
from mixseg.data.contract import ClassSet
from mixseg.data.statistics import LabelStatistics, label_statistics
from mixseg.errors import DataError

BARS = ("#3b6fb6", "#e08a2e", "#5a9e57", "#9c5fa8", "#8a6d5a", "#5b5b5b")
"""Colours of data sets; colours of classes stand below the axis."""


def counted(request: Request) -> list[LabelStatistics]:
    """Counts of each data set, in the classes of the first.

    Raises:
        DataError: No class map leads from another set of classes to the first, a label cannot be
            read, or no pixel is labelled.
    """
    target = request.datasets[0].dataset.classes
    total = sum(len(one.dataset) for one in request.datasets)
    found, before = [], 0
    for shown in request.datasets:
        dataset = shown.dataset
        common = built_in_map(dataset.classes, target)
        if common is None:
            raise DataError(
                f"{shown.title} cannot be shown in the classes of {request.datasets[0].title}: no "
                f"class map is built in from {', '.join(dataset.classes.names)}"
            )

        def advance(done: int, _: int, before: int = before) -> None:
            request.advance(before + done, total)

        statistics = label_statistics(common.apply(dataset), range(len(dataset)), on_count=advance)
        for problem in statistics.problems.values():
            raise DataError(problem)
        if not statistics.pixels.any():
            raise DataError(f"{shown.title}: no pixel of {dataset.root} is labelled")
        before += len(dataset)
        found.append(statistics)
    return found


def draw(request: Request) -> Drawn:
    """Bars for each class."""
    found = counted(request)
    classes = request.datasets[0].dataset.classes
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots()
    _bars(axes, request.datasets, found, classes)
    if len(found) > 1:
        # Above the axes: bars may reach anywhere within them.
        figure.legend(loc="outside upper center", ncols=min(len(found), 4))
    rows = [
        (shown.title, name, pixels, share, images)
        for shown, one in zip(request.datasets, found, strict=True)
        for name, pixels, share, images in zip(
            classes.names,
            one.pixels.tolist(),
            one.shares.tolist(),
            one.images.tolist(),
            strict=True,
        )
    ]
    return drawn_chart(figure, csv_table(("dataset", "class", "pixels", "share", "images"), rows))


def _bars(
    axes: Axes,
    datasets: Sequence[ShownDataset],
    found: Sequence[LabelStatistics],
    classes: ClassSet,
) -> None:
    places = np.arange(len(classes))
    width = 0.8 / len(found)
    for number, (shown, one) in enumerate(zip(datasets, found, strict=True)):
        offset = (number - (len(found) - 1) / 2) * width
        # A class that does not occur has no place on a logarithmic axis: its bar is left out.
        shares = np.where(one.pixels > 0, 100 * one.shares, np.nan)
        colours: Any = BARS[number % len(BARS)]
        if len(found) == 1:
            colours = class_colours(classes)
        axes.bar(
            places + offset,
            shares,
            width,
            label=chart_name(shown.title),
            color=colours,
            edgecolor="0.3",
            linewidth=0.5,
        )
    axes.set_yscale("log")
    # From a whole power of ten: where bars begin on such an axis is arbitrary otherwise.
    least = min(float(one.shares[one.pixels > 0].min()) for one in found)
    axes.set_ylim(bottom=10 ** math.floor(math.log10(100 * least)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("share of the labelled pixels, %")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_xlim(-0.6, len(classes) - 0.4)
    names = [chart_name(name) for name in classes.names]
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    if len(found) > 1:
        swatches(axes, classes)
        axes.tick_params(axis="x", length=0, pad=17)
    else:
        axes.set_title(chart_name(datasets[0].title), fontsize="medium")


def class_colours(classes: ClassSet) -> list[tuple[float, float, float]]:
    """The palette as matplotlib takes it."""
    return [(red / 255, green / 255, blue / 255) for red, green, blue in classes.palette]


def swatches(axes: Axes, classes: ClassSet) -> None:
    """The colour of each class below its place on the horizontal axis."""
    axes.scatter(
        np.arange(len(classes)),
        np.full(len(classes), -0.03),
        marker="s",
        s=64,
        c=class_colours(classes),
        edgecolors="0.3",
        linewidths=0.5,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )
