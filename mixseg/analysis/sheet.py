"""Pictures in rows and columns, with titles above, names below, and legends at the foot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mixseg.analysis.pictures import INK, MAX_FONT_SIZE, MIN_FONT_SIZE, PAPER, fitted
from mixseg.data.arrays import ImageArray

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MIN_CELL_WIDTH = 120
"""Pixels that a column takes even where pictures are narrower, so that its title is readable."""


@final
@dataclass(frozen=True)
class Panel:
    """A picture with what is written below it.

    Attributes:
        picture: RGB uint8, shape (H, W, 3), drawn at the size that it has.
        caption: One line; too long ones are cut.
    """

    picture: ImageArray
    caption: str = ""


@final
@dataclass(frozen=True)
class Grid:
    """Measures of a sheet, in pixels.

    Attributes:
        columns: Number of columns.
        cell: Width of a column.
        gap: Between columns, and around.
        font: Of titles and captions.
        line: Height of a line of text.
    """

    columns: int
    cell: int
    gap: int
    font: Font
    line: int

    @property
    def width(self) -> int:
        """Of the whole sheet."""
        return self.columns * (self.cell + self.gap) + self.gap

    def left(self, column: int) -> int:
        """Where a column begins."""
        return self.gap + column * (self.cell + self.gap)

    def text(self, lines: Sequence[str]) -> ImageArray:
        """Lines at the foot, as wide as the sheet; long ones are cut."""
        picture = Image.new("RGB", (self.width, self.line * len(lines)), PAPER)
        draw = ImageDraw.Draw(picture)
        room = self.width - 2 * self.gap
        for number, text in enumerate(lines):
            middle = number * self.line + self.line // 2
            shown = fitted(text, self.font, room, longest=len(text))
            draw.text((self.gap, middle), shown, fill=INK, font=self.font, anchor="lm")
        return np.array(picture)


def sheet(
    rows: Sequence[Sequence[Panel]],
    titles: Sequence[str] = (),
    feet: Callable[[Grid], Sequence[ImageArray]] = lambda grid: (),
) -> ImageArray:
    """Draw the pictures; each stands in the middle of its column, at the top of its row.

    Args:
        rows: At least one; shorter ones leave columns empty.
        titles: Above the columns; none leaves their line out.
        feet: Pictures at the foot, as wide as the sheet.

    Returns:
        RGB uint8.
    """
    columns = max(len(titles), *(len(row) for row in rows))
    widest = max(panel.picture.shape[1] for row in rows for panel in row)
    cell = max(MIN_CELL_WIDTH, widest)
    gap = max(4, cell // 64)
    # Letters follow the sheet where many columns make it wide: it is looked at as a whole.
    size = min(max(cell // 24, columns * cell // 72, MIN_FONT_SIZE), MAX_FONT_SIZE)
    grid = Grid(columns, cell, gap, ImageFont.load_default(size), size + gap)
    below = list(feet(grid))
    captions = [grid.line if any(panel.caption for panel in row) else 0 for row in rows]
    heights = [max(len(panel.picture) for panel in row) for row in rows]
    head = grid.line + gap if titles else 0
    # A caption stands closer to its picture than to the next one.
    apart = gap + (size // 2 if any(captions) else 0)
    height = gap + head + sum(heights) + sum(captions) + apart * len(rows) + sum(map(len, below))
    picture = Image.new("RGB", (grid.width, height), PAPER)
    draw = ImageDraw.Draw(picture)

    def write(text: str, column: int, top: int) -> None:
        place = (grid.left(column) + cell // 2, top + grid.line // 2)
        draw.text(place, fitted(text, grid.font, cell), fill=INK, font=grid.font, anchor="mm")

    for column, title in enumerate(titles):
        write(title, column, gap)
    top = gap + head
    for row, tall, line in zip(rows, heights, captions, strict=True):
        for column, panel in enumerate(row):
            left = grid.left(column) + (cell - panel.picture.shape[1]) // 2
            picture.paste(Image.fromarray(panel.picture), (left, top))
            if panel.caption:
                write(panel.caption, column, top + tall)
        top += tall + line + apart
    for foot in below:
        picture.paste(Image.fromarray(foot), (0, top))
        top += len(foot)
    return np.array(picture)


def scaled(picture: ImageArray, longest: int, *, exact: bool) -> ImageArray:
    """A picture or label map of at most ``longest`` pixels on each side; never enlarged.

    Args:
        picture: uint8, shape (H, W) or (H, W, 3).
        longest: In pixels.
        exact: Keep the values that there are, as ids and masks need it; else blend neighbours.
    """
    height, width = picture.shape[:2]
    factor = min(1.0, longest / max(height, width))
    if factor == 1.0:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(picture).resize(size, how))
