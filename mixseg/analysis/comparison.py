"""Photographs beside what several networks see in them (003, Figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mixseg.analysis.pictures import (
    INK,
    MAX_FONT_SIZE,
    MIN_FONT_SIZE,
    PAPER,
    fitted,
    legend,
    overlay,
)
from mixseg.data.contract import ClassSet, ImageArray, LabelArray

MIN_CELL_WIDTH = 120
"""Pixels that a column takes even where photographs are narrower, so that its title is readable."""

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
    height, width = row.image.shape[:2]
    factor = min(1.0, longest / max(height, width))
    if factor == 1.0:
        return row
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = Image.fromarray(row.image).resize(size, Image.Resampling.LANCZOS)
    predictions = tuple(
        np.array(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        for labels in row.predictions
    )
    return Row(row.name, np.array(image), predictions)


def comparison(columns: Sequence[Column], rows: Sequence[Row]) -> ImageArray:
    """One row for each photograph: itself, then the overlay of each network.

    Titles stand above the columns and the name of each photograph below it. The classes that occur
    are explained at the foot, once for each distinct set; where networks have different ones, with
    their titles.

    Args:
        columns: The networks.
        rows: The photographs, at least one; drawn at the size that they have.

    Returns:
        RGB uint8.
    """
    cell = max(MIN_CELL_WIDTH, *(row.image.shape[1] for row in rows))
    gap = max(4, cell // 64)
    size = min(max(cell // 24, MIN_FONT_SIZE), MAX_FONT_SIZE)
    font = ImageFont.load_default(size)
    line = size + gap
    lefts = [gap + index * (cell + gap) for index in range(len(columns) + 1)]
    total = lefts[-1] + cell + gap
    feet = _legends(columns, rows, total, font, line, gap)
    heights = [row.image.shape[0] for row in rows]
    height = gap + line + sum(heights) + (line + gap) * len(rows) + sum(map(len, feet))
    picture = Image.new("RGB", (total, height), PAPER)
    draw = ImageDraw.Draw(picture)
    titles = [PHOTOGRAPH, *(column.title for column in columns)]
    for left, title in zip(lefts, titles, strict=True):
        _write(draw, (left + cell // 2, gap + line // 2), title, font, cell, "mm")
    top = gap + line
    for row in rows:
        pairs = zip(row.predictions, columns, strict=True)
        drawn = [row.image, *(overlay(row.image, labels, one.classes) for labels, one in pairs)]
        for left, array in zip(lefts, drawn, strict=True):
            picture.paste(Image.fromarray(array), (left + (cell - array.shape[1]) // 2, top))
        top += row.image.shape[0]
        _write(draw, (lefts[0] + cell // 2, top + line // 2), row.name, font, cell, "mm")
        top += line + gap
    for foot in feet:
        picture.paste(Image.fromarray(foot), (0, top))
        top += len(foot)
    return np.array(picture)


def _legends(
    columns: Sequence[Column],
    rows: Sequence[Row],
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line: int,
    gap: int,
) -> list[ImageArray]:
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
            head = Image.new("RGB", (width, line), PAPER)
            text = ", ".join(columns[index].title for index in users) + ":"
            _write(ImageDraw.Draw(head), (gap, line // 2), text, font, width - 2 * gap, "lm")
            feet.append(np.array(head))
        key = legend(columns[users[0]].classes, present, width)
        if len(key):
            feet.append(key)
    return feet


def _look(classes: ClassSet) -> tuple[object, ...]:
    """What a legend shows of a class set; ids in files play no part."""
    return (classes.names, classes.palette)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    room: int,
    anchor: str,
) -> None:
    draw.text(place, fitted(text, font, room), fill=INK, font=font, anchor=anchor)
