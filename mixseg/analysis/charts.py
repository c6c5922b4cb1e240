"""Charts of what a run logged, and of range tests."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from mixseg.analysis.learning_rates import RangeTest
from mixseg.analysis.metrics import read_metrics
from mixseg.analysis.pictures import without_middle
from mixseg.escaping import chart_text, printable

Colour = tuple[int, int, int]


def pseudo_label_chart(
    metrics: Path, names: Sequence[str], palette: Sequence[Colour]
) -> bytes | None:
    """The share of each class in the pseudo-labels over the steps, as a PNG.

    Classes that vanish early and large ones that take their place are the entropy collapse of
    section 5.2.2.

    Args:
        metrics: ``metrics.jsonl`` of a run.
        names: Of the classes, in the order of their train ids.
        palette: Their colours.

    Returns:
        The file's content, or None if the run logged fewer than two lines of shares.
    """
    keys = [f"pseudo-labels/{name}" for name in names]
    shown = [line for line in read_metrics(metrics) if all(key in line for key in keys)]
    if len(shown) < 2:
        return None
    # A line stands for one batch, which holds a few of the classes; their mean over a fiftieth of
    # the run is what a person can follow.
    window = max(1, len(shown) // 50)
    groups = [shown[start : start + window] for start in range(0, len(shown), window)]
    shares = [[sum(line[key] for line in group) / len(group) for group in groups] for key in keys]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.stackplot(
        [group[-1]["step"] for group in groups],
        shares,
        labels=[chart_text(name) for name in names],
        colors=[(red / 255, green / 255, blue / 255) for red, green, blue in palette],
        # Palettes have neighbours that look alike.
        edgecolor="white",
        linewidth=0.4,
    )
    axes.set(xlabel="step", ylabel="share of the pseudo-labels", ylim=(0, 1))
    axes.margins(x=0)
    handles, labels = axes.get_legend_handles_labels()
    # Top to bottom as the areas lie.
    axes.legend(
        handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small"
    )
    return png_of(figure)


def range_test_chart(test: RangeTest) -> bytes:
    """The curve with the suggestion, as a PNG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, ".", color="0.7", markersize=3, label="loss of the batch")
    axes.plot(test.rates, test.smoothed, label="running mean")
    axes.axvline(
        test.suggestion, color="tab:green", linestyle="--", label=f"suggested {test.suggestion:.1e}"
    )
    axes.axvline(
        test.rates[test.lowest],
        color="0.5",
        linestyle=":",
        label=f"lowest loss {test.rates[test.lowest]:.1e}",
    )
    # What lies far above the start is of no interest: there the loss runs away.
    least, start = min(test.losses), max(test.smoothed[: test.lowest + 1])
    margin = 0.1 * max(start - least, 1e-6)
    axes.set(
        xscale="log",
        xlabel="learning rate of the backbone",
        ylabel="loss",
        ylim=(least - margin, start + 5 * margin),
    )
    axes.legend(fontsize="small")
    return png_of(figure)


LONGEST_NAME = 48
"""Characters of a name in a chart; longer ones would leave no room for the curves."""


def chart_name(name: str) -> str:
    """A name from data as a chart can show it: harmless, and cut in its middle where it is long."""
    shown = printable(name)
    if len(shown) > LONGEST_NAME:
        shown = without_middle(shown, LONGEST_NAME - 3)
    return chart_text(shown)


def png_of(figure: Figure) -> bytes:
    """A chart as a PNG, 120 pixels per inch."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def svg_of(figure: Figure) -> bytes:
    """A chart as an SVG that is the same each time it is drawn; letters are outlines."""
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "mixseg", "svg.fonttype": "path"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
