"""The files of a selection: a list to label, all scores, and a sheet to look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixseg.active.how import How
from mixseg.active.selection import Map, Selection
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.images import ImageArray, LabelArray
from mixseg.data.splits import id_lines
from mixseg.evaluation.pictures import Grid, Panel, legend, overlay, scaled, sheet
from mixseg.evaluation.prediction import write_picture
from mixseg.files import write_atomically
from mixseg.tables import csv_lines
from mixseg.terminal import csv_cell

PANEL = 320
"""Most pixels of a side of each picture in the sheet."""

ROWS = 24
"""Most images in the sheet, the first that were chosen."""

UNKNOWN = (128, 128, 128)
"""Color of pixels that showed in no view."""


def write_selection(
    folder: Path, selection: Selection, classes: ClassSet, how: How, about: str
) -> list[str]:
    """Write the files of a selection into a folder, and return their names.

    ``select.txt`` has a line for each chosen image in the order of the choice, its path below the
    folder of its data set; ``select.csv`` all scores; ``select.json`` how they came about;
    ``select.png`` the first images. If they are of the split of the run's own labels,
    ``labeled.txt`` names those and the chosen images, for the next training.

    Args:
        folder: Is there already.
        selection: What was chosen, by a network.
        classes: Of the network.
        how: By which it was chosen.
        about: The run and step, for the sheet.
    """
    candidates, chosen = selection.candidates, selection.chosen
    labels = candidates.labels
    contents = {"select.txt": image_lines(candidates.dataset, chosen)}
    if labels is not None and labels.dataset is candidates.dataset:
        contents["labeled.txt"] = id_lines(labels.dataset, (*labels.labeled, *chosen))
    contents["select.csv"] = csv_of(selection)
    picture = _sheet(selection, classes, about)
    if picture is not None:
        write_picture(folder / "select.png", picture)
    contents["select.json"] = json.dumps(
        {"network": about, "images": len(candidates.indices), **dataclasses.asdict(how)}, indent=1
    )
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [*contents, *(["select.png"] if picture is not None else [])]


def image_lines(dataset: SegmentationDataset, indices: Sequence[int]) -> str:
    """Paths of images below the folder of their data set, one per line, as lists name them."""
    if not dataset.in_files:
        return id_lines(dataset, indices)
    paths = (dataset.samples[index].image.relative_to(dataset.root) for index in indices)
    return "".join(f"{path.as_posix()}\n" for path in paths)


def csv_of(selection: Selection) -> str:
    """A line for each image that was judged: the chosen ones in order, then by their scores."""
    samples, scores = selection.candidates.dataset.samples, selection.scores
    order = {index: number for number, index in enumerate(selection.chosen, start=1)}
    rest = sorted(scores.keys() - order.keys(), key=lambda index: (-scores[index], index))
    lines: list[Sequence[object]] = [("chosen", "score", "image")]
    for index in (*order, *rest):
        path = csv_cell(str(samples[index].image))
        lines.append((order.get(index, ""), f"{scores[index]:.6f}", path))
    return csv_lines(lines)


def heat(values: NDArray[np.float32]) -> ImageArray:
    """Numbers in [0, 1] from black over red and yellow to white: RGB uint8."""
    steps = np.stack([3 * values, 3 * values - 1, 3 * values - 2], axis=-1)
    return (255 * steps.clip(0, 1)).round().astype(np.uint8)


def _sheet(selection: Selection, classes: ClassSet, about: str) -> ImageArray | None:
    """The first images that were chosen; None if they cannot be read any more."""
    judge, dataset = selection.judge, selection.candidates.dataset
    assert judge is not None
    shown = selection.chosen[:ROWS]
    panels: list[list[Panel]] = []
    present: set[int] = set()
    for number, index in enumerate(shown, start=1):
        found = judge.map(index)
        if found is None:  # it has been removed meanwhile
            continue
        image, labels, doubt = _pictures(found)
        present |= set(np.unique(labels).tolist())
        name = f"{number}: {dataset.samples[index].id}"
        score = f"score {selection.scores[index]:.3f}"
        colors = overlay(image, labels, classes)
        panels.append([Panel(image, name), Panel(colors), Panel(doubt, score)])
    if not panels:
        return None
    what = judge.how.strategy
    more = len(selection.chosen) - len(shown)
    lines = [
        about,
        f"{what}: black 0, red a third, yellow two thirds, white 1; gray: showed in no view",
        *([f"{more} more images are in select.txt"] if more else []),
    ]

    def feet(grid: Grid) -> list[ImageArray]:
        return [grid.text(*lines), legend(classes, present, grid.width)]

    # Two images beside each other, in rows.
    pairs = [panels[first : first + 2] for first in range(0, len(panels), 2)]
    rows = [[panel for row in pair for panel in row] for pair in pairs]
    titles = ("image", "labels of the teacher", what) * min(2, len(panels))
    return sheet(rows, titles, feet)


def _pictures(found: Map) -> tuple[ImageArray, LabelArray, ImageArray]:
    image = scaled(found.seen.image.permute(1, 2, 0).cpu().numpy(), PANEL, exact=False)
    labels = scaled(found.seen.labels.cpu().numpy(), PANEL, exact=True)
    colors = heat(found.doubt.cpu().numpy())
    colors[~found.counted.cpu().numpy()] = UNKNOWN
    return image, labels, scaled(colors, PANEL, exact=False)
