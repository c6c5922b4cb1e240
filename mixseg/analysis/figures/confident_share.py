"""Confident pixels over training, and the sigmoid ramp (Tranheden & Olsson, Figure 2.9)."""

from __future__ import annotations

from mixseg.analysis.figures.figure import MANY, Drawn, Given, figure
from mixseg.charts import chart_name, new_chart, running_mean, series
from mixseg.errors import DataError


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
    from mixseg.targets import SigmoidRamp

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
        options, color = run.settings.options, f"C{number}"
        threshold = options["targets.threshold"]
        ramp_steps = options.get("targets.ramp_steps", 10_000)
        means = running_mean(values)
        axes.plot(steps, values, ".", color=color, alpha=0.3, markersize=4)
        title = f"{chart_name(run.title)}: above {threshold:g}, running mean"
        axes.plot(steps, means, color=color, label=title)
        # A line is numbered by the steps done; training counts them from 0.
        ramp = SigmoidRamp(ramp_steps)
        ramped = [ramp.weight(step - 1) for step in steps]
        if ramp_steps not in ramps:
            style = ("--", ":", "-.")[len(ramps) % 3]
            ramps.add(ramp_steps)
            title = f"sigmoid ramp of {ramp_steps} steps"
            axes.plot(steps, ramped, color="0.2", linestyle=style, label=title)
        rows += [(run.title, *line) for line in zip(steps, values, means, ramped, strict=True)]
    axes.set(xlabel="step", ylabel="share of confident pixels", ylim=(-0.02, 1.02))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3)
    # Below the axes: curves may lie anywhere within them.
    chart.legend(loc="outside lower center", ncols=2 if len(given.runs) < 3 else 1)
    head = ("run", "step", "confident", "running mean", "sigmoid ramp")
    return Drawn(chart, head, rows)
