"""Validation mIoU of student and teacher or average, and the losses, over the training of runs."""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mixseg.analysis.charts import chart_name
from mixseg.analysis.figures.request import Drawn, Request, csv_table, drawn_chart
from mixseg.analysis.metrics import running_mean, series
from mixseg.errors import DataError

WINDOWS = 50
"""Losses are a running mean over this part of a run's lines."""

NETWORKS = ("miou/student", "miou/teacher", "miou/average")
"""What validation logs."""

STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
"""Of networks, and of losses."""


def draw(request: Request) -> Drawn:
    """Two charts, one below the other: a colour for each run, a style for each curve.

    Raises:
        DataError: A run logged neither mIoU nor losses.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    losses = dict.fromkeys(
        key for run in request.runs for line in run.lines for key in line if _is_loss(key)
    )
    logged = {key for run in request.runs for line in run.lines for key in line}
    networks = tuple(name for name in NETWORKS if name in logged)
    panels = {above: networks, below: tuple(losses)}
    rows: list[tuple[object, ...]] = []
    for number, run in enumerate(request.runs):
        curves = 0
        for axes, keys in panels.items():
            for kind, key in enumerate(keys):
                steps, values = series(run.lines, key)
                curves += bool(steps)
                rows += [(run.title, key, *at) for at in zip(steps, values, strict=True)]
                look = {"color": f"C{number}", "linestyle": STYLES[kind % len(STYLES)]}
                if axes is below:
                    axes.plot(steps, running_mean(values, max(1, len(values) // WINDOWS)), **look)
                else:
                    percent = [100 * value for value in values]
                    axes.plot(steps, percent, marker="o", markersize=4, **look)
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
    colours = [
        Line2D([], [], color=f"C{number}", linewidth=4) for number in range(len(request.runs))
    ]
    titles = [chart_name(run.title) for run in request.runs]
    figure.legend(colours, titles, loc="outside lower center", ncols=2)
    return drawn_chart(figure, csv_table(("run", "curve", "step", "value"), rows))


def _is_loss(key: str) -> bool:
    return key.startswith("loss/")
