"""Small data sets for figures."""

from __future__ import annotations

from pathlib import Path

from mixseg.analysis.figures.figure import Given, ShownDataset, chosen
from mixseg.data.layout import open_dataset
from mixseg.scenes import Look, write_demo

SIZE = (40, 72)


def scenes(folder: Path, look: Look = "camera", layout: str = "cityscapes") -> ShownDataset:
    """Six demo scenes of a layout."""
    root = write_demo(folder, look=look, counts={"train": 6}, size=SIZE, layout=layout)
    return ShownDataset(layout, open_dataset(layout, root, "train"))


def given(*datasets: ShownDataset, seed: int = 0) -> Given:
    """Two images of the first are shown."""
    return Given(datasets, (), chosen(datasets[0].dataset, 2, seed), seed)
