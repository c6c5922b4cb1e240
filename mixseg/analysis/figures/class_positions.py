"""Where in the image each class lies, on average (Tranheden & Olsson, Figures 5.1 to 5.4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixseg.analysis.figures.figure import Drawn, Given, figure
from mixseg.data.images import ImageArray, image_size
from mixseg.data.statistics import GRID, label_statistics
from mixseg.errors import DataError
from mixseg.evaluation.pictures import Grid, Panel, sheet

COLUMNS = 5
PANEL = 240
"""Width of each map in pixels."""


@figure(
    "class-positions",
    "where in the image each class lies (Tranheden & Olsson: 5.1 to 5.4)",
    datasets=1,
)
def draw(given: Given) -> Drawn:
    """A map for each class, dark where it is frequent; each class has its own scale.

    Raises:
        DataError: A label cannot be read, or there is none.
    """
    title, dataset = given.datasets[0].title, given.dataset
    found = label_statistics(dataset, range(len(dataset)), on_count=given.advance)
    for problem in found.problems.values():
        raise DataError(problem)
    if not found.labels:
        raise DataError(f"{title}: {dataset.root} has no label")
    height, width = image_size(dataset.samples[0].image)
    size = (PANEL, min(max(1, round(PANEL * height / width)), 2 * PANEL))
    names, palette = dataset.classes.names, dataset.classes.palette
    panels, rows = [], []
    for name, color, occupancy in zip(names, palette, found.occupancy, strict=True):
        most = float(occupancy.max())
        what = f"{name}: up to {_percent(most)} %" if most else f"{name}: absent"
        panels.append(Panel(_map(occupancy / (most or 1), color, size), what))
        for row, values in enumerate(occupancy):
            rows.append((name, row, *(float(f"{value:.4g}") for value in values)))

    def feet(grid: Grid) -> list[ImageArray]:
        about = f"{title}: share of the {found.labels} labels that have the class at a place."
        scale = "White: none; darkest: the most, which stands below each map."
        return [grid.text(about, scale)]

    lines = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    head = ("class", "row", *(str(column) for column in range(GRID[1])))
    return Drawn(sheet(lines, feet=feet), head, rows)


def _percent(share: float) -> str:
    """Two digits, and never an exponent."""
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.2g}"


def _map(
    share: NDArray[np.float64], color: tuple[int, int, int], size: tuple[int, int]
) -> ImageArray:
    """White at 0, the color of the class at a half, a dark shade of it at 1; with a frame."""
    large = Image.fromarray(share.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    value = np.array(large)[..., None]
    middle = np.array(color, dtype=np.float64)
    low = 255 + (middle - 255) * 2 * value
    high = middle + (0.25 * middle - middle) * (2 * value - 1)
    picture: ImageArray = np.where(value < 0.5, low, high).round().clip(0, 255).astype(np.uint8)
    picture[[0, -1]] = 160
    picture[:, [0, -1]] = 160
    return picture
