"""Confident pixels over training, and the sigmoid ramp (Tranheden & Olsson, Figure 2.9)."""

from __future__ import annotations

import dataclasses

import torch

from mixseg.analysis.figures.figure import MANY, Drawn, Given, figure
from mixseg.charts import chart_name, new_chart, running_mean, series
from mixseg.errors import DataError
from mixseg.targets import build_weighting


@figure(
    "confident-share",
    "share of confident pixels over training, and the sigmoid ramp (Tranheden & Olsson: 2.9)",
    is_chart=True,
    runs=(1, MANY),
    reads="log",
)
def draw(given: Given) -> Drawn:
    """Dots for the batches that were logged, a line for their running mean, for each run.

    Raises:
        DataError: A run logged no share.
    """
    chart = new_chart(10, 4.6)
    axes = chart.subplots()
    rows: list[tuple[object, ...]] = []
    ramps: set[int] = set()
    for number, run in enumerate(given.runs):
        steps, values = series(run.lines, "confident")
        if not steps:
            raise DataError(
                f"{run.path}: logged no share of confident pixels; method "
                f"{run.settings.method} has no pseudo-labels"
            )
        targets, color = run.settings.targets, f"C{number}"
        means = running_mean(values)
        axes.plot(steps, values, ".", color=color, alpha=0.3, markersize=4)
        title = f"{chart_name(run.title)}: above {targets.threshold:g}, running mean"
        axes.plot(steps, means, color=color, label=title)
        # A line is numbered by the steps done; training counts them from 0.
        ramp = build_weighting(dataclasses.replace(targets, weighting="sigmoid"))
        pixel, valid = torch.zeros(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool)
        ramped = [float(ramp(pixel, valid, step - 1)) for step in steps]
        if targets.ramp_steps not in ramps:
            style = ("--", ":", "-.")[len(ramps) % 3]
            ramps.add(targets.ramp_steps)
            title = f"sigmoid ramp of {targets.ramp_steps} steps"
            axes.plot(steps, ramped, color="0.2", linestyle=style, label=title)
        rows += [(run.title, *line) for line in zip(steps, values, means, ramped, strict=True)]
    axes.set(xlabel="step", ylabel="share of confident pixels", ylim=(-0.02, 1.02))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    # Below the axes: curves may lie anywhere within them.
    chart.legend(loc="outside lower center", ncols=2 if len(given.runs) < 3 else 1)
    head = ("run", "step", "confident", "running mean", "sigmoid ramp")
    return Drawn(chart, head, rows)
