"""How often classes occur, data sets side by side (Tranheden & Olsson, Figure 3.9)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixseg.analysis.figures.figure import MANY, Drawn, Given, figure
from mixseg.charts import chart_name, class_colors, grouped_bars, names_below, new_chart
from mixseg.data.class_maps import built_in_map
from mixseg.data.contract import ClassSet
from mixseg.data.statistics import LabelStatistics, label_statistics
from mixseg.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = ("#3b6fb6", "#e08a2e", "#5a9e57", "#9c5fa8", "#8a6d5a", "#5b5b5b")
"""Colors of data sets; colors of classes stand below the axis."""


@figure(
    "class-frequencies",
    "share of each class on a log axis, data sets side by side (Tranheden & Olsson: 3.9)",
    is_chart=True,
    datasets=MANY,
)
def draw(given: Given) -> Drawn:
    """Bars for each class, in the classes of the first data set."""
    found = _counted(given)
    classes = given.dataset.classes
    chart = new_chart(10, 4.6)
    _draw_bars(chart.subplots(), found, classes)
    if len(found) > 1:
        # Above the axes: bars may reach anywhere within them.
        chart.legend(loc="outside upper center", ncols=min(len(found), 4))
    rows = [
        (title, name, int(one.pixels[index]), one.shares[index], int(one.images[index]))
        for title, one in found.items()
        for index, name in enumerate(classes.names)
    ]
    return Drawn(chart, ("dataset", "class", "pixels", "share", "images"), rows)


def _counted(given: Given) -> dict[str, LabelStatistics]:
    """Title -> counts of each data set, in the classes of the first.

    Raises:
        DataError: There is no class map to the classes of the first, a label cannot be read, or no
            pixel is labeled.
    """
    first = given.datasets[0]
    total = sum(len(one.dataset) for one in given.datasets)
    found: dict[str, LabelStatistics] = {}
    before = 0
    for title, dataset in given.datasets:
        common = built_in_map(dataset.classes, first.dataset.classes)
        if common is None:
            raise DataError(
                f"{title} cannot be shown in the classes of {first.title}: no class map is built "
                f"in from {', '.join(dataset.classes.names)}"
            )

        def advance(done: int, _: int, before: int = before) -> None:
            given.advance(before + done, total)

        statistics = label_statistics(common.apply(dataset), range(len(dataset)), on_count=advance)
        for problem in statistics.problems.values():
            raise DataError(problem)
        if not statistics.pixels.any():
            raise DataError(f"{title}: no pixel of {dataset.root} is labeled")
        before += len(dataset)
        found[title] = statistics
    return found


def _draw_bars(axes: Axes, found: dict[str, LabelStatistics], classes: ClassSet) -> None:
    from matplotlib.ticker import FuncFormatter

    several = len(found) > 1
    colors = class_colors(classes.palette)
    groups = []
    for number, (title, one) in enumerate(found.items()):
        color = BARS[number % len(BARS)] if several else colors
        # A class that does not occur has no place on a logarithmic axis: its bar is left out.
        heights = np.where(one.pixels > 0, 100 * one.shares, np.nan)
        look = {"color": color, "edgecolor": "0.3", "linewidth": 0.5}
        groups.append((heights, look | {"label": chart_name(title)}))
    grouped_bars(axes, groups)
    axes.set_yscale("log")
    # From a whole power of ten: where bars begin on such an axis is arbitrary otherwise.
    least = min(float(one.shares[one.pixels > 0].min()) for one in found.values())
    axes.set_ylim(bottom=10 ** math.floor(math.log10(100 * least)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("share of the labeled pixels, %")
    axes.set_xlim(-0.6, len(classes) - 0.4)
    names_below(axes, classes.names)
    if not several:
        axes.set_title(chart_name(next(iter(found))), fontsize="medium")
        return
    # The color of each class below its place on the horizontal axis.
    axes.scatter(
        np.arange(len(classes)),
        np.full(len(classes), -0.03),
        marker="s",
        s=64,
        c=colors,
        edgecolors="0.3",
        linewidths=0.5,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )
    axes.tick_params(axis="x", length=0, pad=17)
