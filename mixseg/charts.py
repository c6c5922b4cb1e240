"""Charts: what they share, and the chart of the pseudo-labels of a run.

matplotlib, the extra ``plots``, may be missing and takes time to import: it is imported where a
chart is drawn, and never at the top of a file.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixseg.files import read_json_lines
from mixseg.terminal import chart_text, printable, without_middle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Color = tuple[int, int, int]

WITHOUT_PLOTS = "figures and charts are drawn with matplotlib: pip install 'mixseg[plots]'"
"""The message where a chart is to be drawn and matplotlib is missing."""

LONGEST_NAME = 48
"""Characters of a name in a chart; longer ones would leave no room for the curves."""


def plots_installed() -> bool:
    """Whether matplotlib is there and can be imported, which takes half a second."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def new_chart(width: float, height: float) -> Figure:
    """An empty chart, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png_of(figure: Figure) -> bytes:
    """A chart as a PNG, 120 pixels per inch."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def svg_of(figure: Figure) -> bytes:
    """A chart as an SVG that is the same each time it is drawn; letters are outlines."""
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "mixseg", "svg.fonttype": "path"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()


def chart_name(name: str) -> str:
    """A name from data as a chart can show it: harmless, and cut in its middle where it is long."""
    shown = printable(name)
    if len(shown) > LONGEST_NAME:
        shown = without_middle(shown, LONGEST_NAME - 3)
    return chart_text(shown)


def class_colors(palette: Sequence[Color]) -> list[tuple[float, float, float]]:
    """A palette as matplotlib takes it."""
    return [(red / 255, green / 255, blue / 255) for red, green, blue in palette]


def grouped_bars(axes: Axes, groups: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
    """Bars side by side at each place of the horizontal axis.

    Args:
        axes: Where they are drawn.
        groups: The heights of one kind of bar, and how it looks.
    """
    width = 0.8 / len(groups)
    for number, (heights, look) in enumerate(groups):
        offset = (number - (len(groups) - 1) / 2) * width
        axes.bar(np.arange(len(heights)) + offset, heights, width, **look)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def names_below(axes: Axes, names: Sequence[str], *, upright: bool = False) -> None:
    """Names of classes at their places of the horizontal axis."""
    places, shown = range(len(names)), [chart_name(name) for name in names]
    if upright:
        axes.set_xticks(places, shown, rotation=90)
    else:
        axes.set_xticks(places, shown, rotation=40, ha="right", rotation_mode="anchor")


def series(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """The steps at which something was logged in ``metrics.jsonl``, and its values."""
    found = [
        (line["step"], float(line[key]))
        for line in lines
        if isinstance(line.get(key), int | float) and isinstance(line.get("step"), int)
    ]
    return [step for step, _ in found], [value for _, value in found]


def running_mean(values: Sequence[float]) -> list[float]:
    """The mean over the last fiftieth of all values, as far as there are so many before each."""
    window = max(1, len(values) // 50)
    return [
        sum(values[max(0, end - window) : end]) / min(end, window)
        for end in range(1, len(values) + 1)
    ]


def pseudo_label_chart(
    metrics: Path, names: Sequence[str], palette: Sequence[Color]
) -> bytes | None:
    """The share of each class in the pseudo-labels over the steps, as a PNG.

    Classes that vanish early and large ones that take their place are the entropy collapse of
    section 5.2.2.

    Args:
        metrics: ``metrics.jsonl`` of a run.
        names: Names of the classes, in the order of their train ids.
        palette: Their colors.

    Returns:
        The file's content, or None if the run logged fewer than two lines of shares.
    """
    keys = [f"pseudo-labels/{name}" for name in names]
    shown = [line for line in read_json_lines(metrics) if all(key in line for key in keys)]
    if len(shown) < 2:
        return None
    # A line stands for one batch, which holds a few of the classes; their mean over a fiftieth of
    # the run can be followed by eye.
    window = max(1, len(shown) // 50)
    groups = [shown[start : start + window] for start in range(0, len(shown), window)]
    shares = [[sum(line[key] for line in group) / len(group) for group in groups] for key in keys]
    figure = new_chart(9, 4.5)
    axes = figure.subplots()
    axes.stackplot(
        [group[-1]["step"] for group in groups],
        shares,
        labels=[chart_text(name) for name in names],
        colors=class_colors(palette),
        # Palettes have neighbors that look alike.
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
