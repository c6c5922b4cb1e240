"""Validation mIoU of student and teacher or average, and the losses, over the training of runs."""

from __future__ import annotations

from typing import Literal

from mixseg.analysis.figures.figure import MANY, Drawn, Given, figure
from mixseg.charts import chart_name, new_chart, running_mean, series
from mixseg.errors import DataError

NETWORKS = ("miou/student", "miou/teacher", "miou/average")
"""What validation logs."""

STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
"""Lines of networks, and of losses."""


@figure(
    "learning-curves",
    "mIoU of student and teacher, and losses, of one or several runs",
    is_chart=True,
    runs=(1, MANY),
    reads="log",
)
def draw(given: Given) -> Drawn:
    """Two charts, one below the other: a color for each run, a style for each curve.

    Raises:
        DataError: A run logged neither mIoU nor losses.
    """
    from matplotlib.lines import Line2D

    chart = new_chart(10, 7)
    above, below = chart.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    logged = dict.fromkeys(key for run in given.runs for line in run.lines for key in line)
    networks = tuple(name for name in NETWORKS if name in logged)
    losses = tuple(key for key in logged if key.startswith("loss/"))
    panels = {above: networks, below: losses}
    rows: list[tuple[object, ...]] = []
    for number, run in enumerate(given.runs):
        curves = 0
        for axes, keys in panels.items():
            for kind, key in enumerate(keys):
                steps, values = series(run.lines, key)
                curves += bool(steps)
                rows += [(run.title, key, *at) for at in zip(steps, values, strict=True)]
                color, style = f"C{number}", STYLES[kind % len(STYLES)]
                if axes is below:
                    axes.plot(steps, running_mean(values), color=color, linestyle=style)
                else:
                    percent = [100 * value for value in values]
                    marked = {"marker": "o", "markersize": 4}
                    axes.plot(steps, percent, color=color, linestyle=style, **marked)
        if not curves:
            raise DataError(f"{run.path}: its metrics.jsonl has neither mIoU nor losses")
    above.set_ylabel("validation mIoU, %")
    below.set(xlabel="step", ylabel="loss, running mean")
    for axes, keys in panels.items():
        axes.grid(alpha=0.3)
        # A style stands for the same curve of every run.
        styles = [
            Line2D([], [], color="0.3", linestyle=STYLES[kind % len(STYLES)])
            for kind in range(len(keys))
        ]
        names = [chart_name(key.partition("/")[2]) for key in keys]
        axes.legend(styles, names, loc="best", fontsize="small")
    colors = [Line2D([], [], color=f"C{number}", linewidth=4) for number in range(len(given.runs))]
    titles = [chart_name(run.title) for run in given.runs]
    chart.legend(colors, titles, loc="outside lower center", ncols=2)
    return Drawn(chart, ("run", "curve", "step", "value"), rows)
