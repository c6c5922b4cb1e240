"""Confident pixels over training, and the sigmoid ramp (Tranheden & Olsson, Figure 2.9)."""

from __future__ import annotations

from matplotlib.figure import Figure

from mixseg.analysis.charts import chart_name
from mixseg.analysis.figures.request import Drawn, Request, csv_table, drawn_chart
from mixseg.analysis.metrics import running_mean, series
from mixseg.errors import DataError
from mixseg.targets import SigmoidRamp

WINDOWS = 50
"""The line is a running mean over this part of a run's lines."""


def draw(request: Request) -> Drawn:
    """Dots for the batches that were logged, a line for their running mean, for each run.

    Raises:
        DataError: A run logged no share.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots()
    rows: list[tuple[object, ...]] = []
    ramps = set()
    for number, run in enumerate(request.runs):
        steps, values = series(run.lines, "confident")
        if not steps:
            raise DataError(
                f"{run.path}: logged no share of confident pixels; method "
                f"{run.settings.method} has no pseudo-labels"
            )
        options, color = run.settings.options, f"C{number}"
        threshold, steps_up = (
            options["targets.threshold"],
            options.get("targets.ramp_steps", 10_000),
        )
        ramp = SigmoidRamp(steps_up)
        means = running_mean(values, max(1, len(values) // WINDOWS))
        title = chart_name(run.title)
        axes.plot(steps, values, ".", color=color, alpha=0.3, markersize=4)
        axes.plot(steps, means, color=color, label=f"{title}: above {threshold:g}, running mean")
        # A line is numbered by the steps done; training counts them from 0.
        ramped = [ramp.weight(step - 1) for step in steps]
        if steps_up not in ramps:
            ramps.add(steps_up)
            axes.plot(
                steps,
                ramped,
                color="0.2",
                linestyle=("--", ":", "-.")[(len(ramps) - 1) % 3],
                label=f"sigmoid ramp of {steps_up} steps",
            )
        rows += [
            (run.title, *values_of) for values_of in zip(steps, values, means, ramped, strict=True)
        ]
    axes.set(xlabel="step", ylabel="share of confident pixels", ylim=(-0.02, 1.02))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    # Below the axes: curves may lie anywhere within them.
    figure.legend(loc="outside lower center", ncols=2 if len(request.runs) < 3 else 1)
    head = ("run", "step", "confident", "running mean", "sigmoid ramp")
    return drawn_chart(figure, csv_table(head, rows))
