"""Small data sets and requests for figures."""

from __future__ import annotations

from pathlib import Path

from mixseg.analysis.figures import Request, ShownDataset
from mixseg.data.registry import open_dataset
from mixseg.scenes import Look, write_demo

SIZE = (40, 72)


def scenes(folder: Path, look: Look = "camera", layout: str = "cityscapes") -> ShownDataset:
    """Six demo scenes of a layout."""
    root = write_demo(folder, look=look, counts={"train": 6}, size=SIZE, layout=layout)
    return ShownDataset(layout, open_dataset(layout, root, "train"))


def request_of(*datasets: ShownDataset, **fields: object) -> Request:
    return Request(datasets=datasets, **fields)  # type: ignore[arg-type]
