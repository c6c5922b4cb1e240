"""Label maps as pictures: colors, overlays, legends, and pictures laid side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mixseg.data.contract import ClassSet
from mixseg.data.images import ImageArray, LabelArray
from mixseg.ignore import IGNORE
from mixseg.terminal import printable, without_middle

MIN_FONT_SIZE = 12
MAX_FONT_SIZE = 160
MIN_LEGEND_WIDTH = 240
"""Pixels that a legend takes even under a smaller picture, so that names stay readable."""

MAX_NAME_LENGTH = 48
"""Characters of a class name that a legend shows at most."""

MIN_CELL_WIDTH = 120
"""Pixels that a column takes even where pictures are narrower, so that its title is readable."""

PAPER = (255, 255, 255)
INK = (32, 32, 32)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def colorize(labels: LabelArray, palette: Sequence[tuple[int, int, int]]) -> ImageArray:
    """Each train id in its color, RGB uint8; ids without a color, 255 among them, are black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    return table[labels]


def overlay(
    image: ImageArray, labels: LabelArray, classes: ClassSet, alpha: float = 0.5
) -> ImageArray:
    """The image, RGB uint8 (H, W, 3), with the colors of its labels, uint8 (H, W), laid over it.

    ``alpha`` is the opacity of the colors, from 0 (only the image) to 1 (only the colors); pixels
    of no class show the image alone.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image {image.shape[:2]} and labels {labels.shape} differ in size")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], found {alpha}")
    colors = Image.fromarray(colorize(labels, classes.palette))
    blended = np.array(Image.blend(Image.fromarray(image), colors, alpha))
    unknown = labels >= len(classes)
    blended[unknown] = image[unknown]
    return blended


def legend(classes: ClassSet, present: Iterable[int], width: int) -> ImageArray:
    """Swatches and names of some classes, in columns, on white.

    Args:
        classes: Names and palette.
        present: Train ids to show; ids of no class are left out.
        width: In pixels; the letters grow with it. Long names are cut.

    Returns:
        RGB uint8, shape (height as needed, width, 3); height 0 if there is nothing to show.
    """
    shown = [index for index in sorted(set(present)) if 0 <= index < len(classes)]
    if not shown:
        return np.zeros((0, width, 3), dtype=np.uint8)
    size = min(max(width // 64, MIN_FONT_SIZE), MAX_FONT_SIZE)
    font = ImageFont.load_default(size)
    gap = max(1, size // 2)
    room = width - (size + 3 * gap)
    names = [fitted(classes.names[index], font, room) for index in shown]
    cell_width = size + 2 * gap + int(max(font.getlength(name) for name in names)) + 1
    cell_height = size + gap
    columns = max(1, min(len(shown), (width - gap) // cell_width))
    rows = -(-len(shown) // columns)
    picture = Image.new("RGB", (width, rows * cell_height + gap), PAPER)
    draw = ImageDraw.Draw(picture)
    for position, (index, name) in enumerate(zip(shown, names, strict=True)):
        column, row = divmod(position, rows)  # down the columns, as lists are read
        left, top = gap + column * cell_width, gap + row * cell_height
        box = (left, top, left + size - 1, top + size - 1)
        draw.rectangle(box, fill=classes.palette[index], outline=INK, width=max(1, size // 16))
        place = (left + size + gap // 2 + 1, top + size / 2)
        draw.text(place, name, fill=INK, font=font, anchor="lm")
    return np.array(picture)


def with_legend(picture: ImageArray, labels: LabelArray, classes: ClassSet) -> ImageArray:
    """A picture with the legend of the classes that its labels contain below it.

    It is at least ``MIN_LEGEND_WIDTH`` wide; a narrower picture is centered on white.
    """
    height, width = picture.shape[:2]
    total = max(width, MIN_LEGEND_WIDTH)
    key = legend(classes, np.unique(labels).tolist(), total)
    canvas: NDArray[np.uint8] = np.full((height + len(key), total, 3), PAPER, dtype=np.uint8)
    left = (total - width) // 2
    canvas[:height, left : left + width] = picture
    canvas[height:] = key
    return canvas


def fitted(name: str, font: Font, room: int, longest: int = MAX_NAME_LENGTH) -> str:
    """A name cut in its middle to at most ``room`` pixels and ``longest`` characters.

    Names of runs begin alike and end with what tells them apart.
    """
    text = printable(name)
    if len(text) <= longest and font.getlength(text) <= room:
        return text
    kept = min(len(text), longest)
    while kept and font.getlength(without_middle(text, kept)) > room:
        kept -= 1
    return without_middle(text, kept)


def scaled(picture: ImageArray, longest: int, *, exact: bool) -> ImageArray:
    """A picture or label map of at most ``longest`` pixels on each side; never enlarged.

    ``exact`` keeps the values that there are, as ids and masks need it; else neighbors are blended.
    """
    height, width = picture.shape[:2]
    factor = min(1.0, longest / max(height, width))
    if factor == 1.0:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(picture).resize(size, how))


def gray(picture: LabelArray) -> ImageArray:
    """A grayscale picture, uint8 of shape (H, W), as RGB."""
    return np.repeat(picture[..., None], 3, axis=2)


class Panel(NamedTuple):
    """A picture, RGB uint8, and the line below it; a line that is too long is cut."""

    picture: ImageArray
    caption: str = ""


@final
@dataclass(frozen=True)
class Grid:
    """Measures of a sheet in pixels.

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
        """Width of the whole sheet."""
        return self.columns * (self.cell + self.gap) + self.gap

    def text(self, *lines: str) -> ImageArray:
        """Lines for the foot, as wide as the sheet; long ones are cut."""
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
    """Draw pictures in rows; each stands in the middle of its column, at the top of its row.

    Args:
        rows: At least one; shorter ones leave columns empty.
        titles: Above the columns; none leaves their line out.
        feet: Pictures at the foot, as wide as the sheet.
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

    lefts = [gap + column * (cell + gap) for column in range(columns)]

    def write(text: str, column: int, top: int) -> None:
        place = (lefts[column] + cell // 2, top + grid.line // 2)
        draw.text(place, fitted(text, grid.font, cell), fill=INK, font=grid.font, anchor="mm")

    for column, title in enumerate(titles):
        write(title, column, gap)
    top = gap + head
    for row, tall, line in zip(rows, heights, captions, strict=True):
        for column, panel in enumerate(row):
            middle = (cell - panel.picture.shape[1]) // 2
            picture.paste(Image.fromarray(panel.picture), (lefts[column] + middle, top))
            if panel.caption:
                write(panel.caption, column, top + tall)
        top += tall + line + apart
    for foot in below:
        picture.paste(Image.fromarray(foot), (0, top))
        top += len(foot)
    return np.array(picture)


class Column(NamedTuple):
    """The title of a network, and the classes that it tells apart."""

    title: str
    classes: ClassSet


class Row(NamedTuple):
    """A photograph, RGB uint8 (H, W, 3), and train ids, uint8 (H, W), of what each network sees."""

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
    """One row for each photograph: itself, then the overlay of each network (Lourenço, Figure 2).

    The classes that occur are explained at the foot, once for each distinct set; where networks
    have different ones, with their titles. With an ``alpha`` of 1 the colors are those of the
    legend.
    """
    # Class sets that look alike share a legend: their ids in files play no part.
    sets: dict[object, list[int]] = {}
    for index, column in enumerate(columns):
        sets.setdefault((column.classes.names, column.classes.palette), []).append(index)

    def legends(grid: Grid) -> list[ImageArray]:
        feet = []
        for users in sets.values():
            shown = [np.unique(row.predictions[index]) for row in rows for index in users]
            if len(sets) > 1:
                feet.append(grid.text(", ".join(columns[index].title for index in users) + ":"))
            key = legend(columns[users[0]].classes, np.concatenate(shown).tolist(), grid.width)
            feet += [key] if len(key) else []
        return feet

    panels = []
    for row in rows:
        pairs = zip(row.predictions, columns, strict=True)
        drawn = [Panel(overlay(row.image, labels, one.classes, alpha)) for labels, one in pairs]
        panels.append([Panel(row.image, row.name), *drawn])
    return sheet(panels, ["photograph", *(column.title for column in columns)], legends)


def distinct_titles(runs: Sequence[tuple[str, int]]) -> list[str]:
    """A title for each checkpoint, given by the name of its run and its step.

    It is that name, with the step or a number where several share it.
    """
    names = Counter(name for name, _ in runs)
    titles = [name if names[name] == 1 else f"{name}, step {step}" for name, step in runs]
    shared = Counter(titles)
    return [
        title if shared[title] == 1 else f"{titles[: index + 1].count(title)}: {title}"
        for index, title in enumerate(titles)
    ]


def to_label_ids(labels: LabelArray, classes: ClassSet) -> LabelArray:
    """Train ids, uint8 of any shape, as the ids of the data set's own files.

    Ignored pixels become 0, the unlabeled id, unless 0 is a class.
    """
    if not classes.label_ids:
        return labels
    nothing = IGNORE if 0 in classes.label_ids else 0
    table = np.full(256, nothing, dtype=np.uint8)
    table[: len(classes)] = classes.label_ids
    return table[labels]


Encode = Callable[[LabelArray, ClassSet], NDArray[np.uint8]]
ENCODINGS: dict[str, Encode] = {
    "ids": lambda labels, classes: labels,
    "colour": lambda labels, classes: colorize(labels, classes.palette),
    "label-ids": lambda labels, classes: to_label_ids(labels, classes),
}
"""What a prediction alone can be written as: train ids, colors, or the ids of the data set's own
files, which benchmark servers take."""


OVERLAY = "overlay"
"""The one picture that needs the photograph too."""

PICTURES = (*ENCODINGS, OVERLAY)
"""What can be written for each image; the name is also that of the folder."""

USUAL_PICTURES = ("ids", "colour", OVERLAY)
"""What is written unless said otherwise."""

SHEET_ROWS = 12
"""Photographs in the sheet of several networks, unless said otherwise."""
