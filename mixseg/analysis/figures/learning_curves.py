"""Validation mIoU of student and teacher, and the losses, over the training of runs."""

from __future__ import annotations

from matplotlib.figure import Figure

from mixseg.analysis.figures.request import Drawn, Request, csv_table, drawn_chart
from mixseg.analysis.metrics import running_mean, series
from mixseg.errors import DataError
from mixseg.escaping import chart_text

WINDOWS = 50
"""Losses are a running mean over this part of a run's lines."""

STYLES = ("-", "--", ":", "-.")
"""Of networks, and of losses."""


def draw(request: Request) -> Drawn:
    """Two charts, one below the other: a colour for each run, a style for each curve.

    Raises:
        DataError: A run logged neither mIoU nor losses.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    rows: list[tuple[object, ...]] = []
    losses = list(
        dict.fromkeys(
            key for run in request.runs for line in run.lines for key in line if _is_loss(key)
        )
    )
    for number, run in enumerate(request.runs):
        found = False
        for kind, network in enumerate(("student", "teacher")):
            steps, values = series(run.lines, f"miou/{network}")
            rows += [(run.title, f"miou/{network}", *at) for at in zip(steps, values, strict=True)]
            found = found or bool(steps)
            if steps:
                above.plot(
                    steps,
                    [100 * value for value in values],
                    color=f"C{number}",
                    linestyle=STYLES[kind],
                    marker="o",
                    markersize=4,
                    label=f"{chart_text(run.title)}: {network}",
                )
        for kind, key in enumerate(losses):
            steps, values = series(run.lines, key)
            rows += [(run.title, key, *at) for at in zip(steps, values, strict=True)]
            found = found or bool(steps)
            if steps:
                below.plot(
                    steps,
                    running_mean(values, max(1, len(values) // WINDOWS)),
                    color=f"C{number}",
                    linestyle=STYLES[kind % len(STYLES)],
                    label=f"{chart_text(run.title)}: {chart_text(key.removeprefix('loss/'))}",
                )
        if not found:
            raise DataError(f"{run.path}: its metrics.jsonl has neither mIoU nor losses")
    above.set_ylabel("validation mIoU, %")
    below.set(xlabel="step", ylabel="loss, running mean")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if axes.has_data():
            # Beside the axes: curves may lie anywhere within them.
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
    return drawn_chart(figure, csv_table(("run", "curve", "step", "value"), rows))


def _is_loss(key: str) -> bool:
    return key.startswith("loss/")
