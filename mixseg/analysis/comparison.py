"""Photographs beside what several networks see in them (Lourenço, Figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from mixseg.analysis.pictures import legend, overlay
from mixseg.analysis.sheet import Grid, Panel, scaled, sheet
from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.data.contract import ClassSet

PHOTOGRAPH = "photograph"
"""Title of the first column."""


@final
@dataclass(frozen=True)
class Column:
    """A network.

    Attributes:
        title: Its name.
        classes: What it tells apart.
    """

    title: str
    classes: ClassSet


@final
@dataclass(frozen=True)
class Row:
    """A photograph and what the networks see in it.

    Attributes:
        name: Of the photograph.
        image: RGB uint8, shape (H, W, 3).
        predictions: uint8 train ids, shape (H, W), one for each column.
    """

    name: str
    image: ImageArray
    predictions: tuple[LabelArray, ...]


def reduced(row: Row, longest: int) -> Row:
    """A row whose photograph has at most ``longest`` pixels on each side; never enlarged."""
    if max(row.image.shape[:2]) <= longest:
        return row
    predictions = tuple(scaled(labels, longest, exact=True) for labels in row.predictions)
    return Row(row.name, scaled(row.image, longest, exact=False), predictions)


def comparison(columns: Sequence[Column], rows: Sequence[Row], alpha: float = 0.5) -> ImageArray:
    """One row for each photograph: itself, then the overlay of each network.

    Titles stand above the columns and the name of each photograph below it. The classes that occur
    are explained at the foot, once for each distinct set; where networks have different ones, with
    their titles.

    Args:
        columns: The networks.
        rows: The photographs, at least one; drawn at the size that they have.
        alpha: Opacity of the overlay's colours; with 1 they are those of the legend.

    Returns:
        RGB uint8.
    """
    panels = []
    for row in rows:
        pairs = zip(row.predictions, columns, strict=True)
        drawn = [Panel(overlay(row.image, labels, one.classes, alpha)) for labels, one in pairs]
        panels.append([Panel(row.image, row.name), *drawn])
    titles = [PHOTOGRAPH, *(column.title for column in columns)]
    return sheet(panels, titles, lambda grid: _legends(columns, rows, grid))


def _legends(columns: Sequence[Column], rows: Sequence[Row], grid: Grid) -> list[ImageArray]:
    """A legend for each distinct class set, as wide as the picture."""
    distinct = list(dict.fromkeys(_look(column.classes) for column in columns))
    feet = []
    for look in distinct:
        users = [index for index, one in enumerate(columns) if _look(one.classes) == look]
        present = {
            int(label)
            for row in rows
            for index in users
            for label in np.unique(row.predictions[index])
        }
        if len(distinct) > 1:
            feet.append(grid.text([", ".join(columns[index].title for index in users) + ":"]))
        key = legend(columns[users[0]].classes, present, grid.width)
        if len(key):
            feet.append(key)
    return feet


def _look(classes: ClassSet) -> tuple[object, ...]:
    """What a legend shows of a class set; ids in files play no part."""
    return (classes.names, classes.palette)
