"""Confident pixels over training, and the sigmoid ramp (Tranheden & Olsson, Figure 2.9)."""

from __future__ import annotations

import dataclasses

import torch
from matplotlib.figure import Figure

from mixseg.analysis.charts import chart_name
from mixseg.analysis.figures.request import Drawn, Request, csv_table, drawn_chart
from mixseg.analysis.metrics import running_mean, series
from mixseg.config.sections import TargetSettings
from mixseg.errors import DataError
from mixseg.targets import build_weighting

WINDOWS = 50
"""The line is a running mean over this part of a run's lines."""


def ramp(settings: TargetSettings, step: int) -> float:
    """The weight that the sigmoid ramp would give to each pixel at a step."""
    weighting = build_weighting(dataclasses.replace(settings, weighting="sigmoid"))
    return float(weighting(torch.zeros(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool), step))


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
        targets, colour = run.settings.targets, f"C{number}"
        means = running_mean(values, max(1, len(values) // WINDOWS))
        title = chart_name(run.title)
        axes.plot(steps, values, ".", color=colour, alpha=0.3, markersize=4)
        axes.plot(
            steps, means, color=colour, label=f"{title}: above {targets.threshold:g}, running mean"
        )
        # A line is numbered by the steps done; training counts them from 0.
        ramped = [ramp(targets, step - 1) for step in steps]
        if targets.ramp_steps not in ramps:
            ramps.add(targets.ramp_steps)
            axes.plot(
                steps,
                ramped,
                color="0.2",
                linestyle=("--", ":", "-.")[(len(ramps) - 1) % 3],
                label=f"sigmoid ramp of {targets.ramp_steps} steps",
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
