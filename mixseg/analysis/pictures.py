"""Label maps as pictures: colours, overlays on the image, and a legend of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.data.contract import ClassSet
from mixseg.escaping import printable

MIN_FONT_SIZE = 12
MAX_FONT_SIZE = 160
MIN_LEGEND_WIDTH = 240
"""Pixels that a legend takes even under a smaller picture, so that names stay readable."""

MAX_NAME_LENGTH = 48
"""Characters of a class name that a legend shows at most."""

PAPER = (255, 255, 255)
INK = (32, 32, 32)


def colourise(labels: LabelArray, palette: Sequence[tuple[int, int, int]]) -> ImageArray:
    """Each train id in its colour.

    Args:
        labels: uint8 train ids, shape (H, W).
        palette: One RGB colour (0-255) per train id.

    Returns:
        RGB uint8, shape (H, W, 3); ids without a colour, 255 among them, are black.
    """
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    return table[labels]


def overlay(
    image: ImageArray, labels: LabelArray, classes: ClassSet, alpha: float = 0.5
) -> ImageArray:
    """The image with the classes' colours laid over it.

    Args:
        image: RGB uint8, shape (H, W, 3).
        labels: uint8 train ids, shape (H, W).
        classes: Whose palette is used.
        alpha: Opacity of the colours, from 0 (only the image) to 1 (only the colours).

    Returns:
        RGB uint8, shape (H, W, 3); pixels of no class show the image alone.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image {image.shape[:2]} and labels {labels.shape} differ in size")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], found {alpha}")
    colours = Image.fromarray(colourise(labels, classes.palette))
    blended = np.array(Image.blend(Image.fromarray(image), colours, alpha))
    unknown = labels >= len(classes)
    blended[unknown] = image[unknown]
    return blended


def legend(classes: ClassSet, present: Iterable[int], width: int) -> ImageArray:
    """Swatches and names of some classes, in columns, on white.

    Args:
        classes: Names and palette.
        present: Train ids to show, in the order of their ids; ids of no class are left out.
        width: Width of the picture in pixels; the letters grow with it. Long names are cut.

    Returns:
        RGB uint8, shape (height as needed, width, 3); height 0 if there is nothing to show.
    """
    shown = [index for index in sorted(set(present)) if 0 <= index < len(classes)]
    if not shown:
        return np.zeros((0, width, 3), dtype=np.uint8)
    size = min(max(width // 64, MIN_FONT_SIZE), MAX_FONT_SIZE)
    font = ImageFont.load_default(size)
    gap = max(1, size // 2)
    swatch = size
    room = width - (swatch + 3 * gap)
    names = [fitted(classes.names[index], font, room) for index in shown]
    cell_width = swatch + 2 * gap + int(max(font.getlength(name) for name in names)) + 1
    cell_height = size + gap
    columns = max(1, min(len(shown), (width - gap) // cell_width))
    rows = -(-len(shown) // columns)
    picture = Image.new("RGB", (width, rows * cell_height + gap), PAPER)
    draw = ImageDraw.Draw(picture)
    for position, (index, name) in enumerate(zip(shown, names, strict=True)):
        # Down the columns, as lists are read.
        column, row = divmod(position, rows)
        left, top = gap + column * cell_width, gap + row * cell_height
        box = (left, top, left + swatch - 1, top + swatch - 1)
        draw.rectangle(box, fill=classes.palette[index], outline=INK, width=max(1, size // 16))
        middle = top + swatch / 2
        draw.text((left + swatch + gap // 2 + 1, middle), name, fill=INK, font=font, anchor="lm")
    return np.array(picture)


def with_legend(picture: ImageArray, labels: LabelArray, classes: ClassSet) -> ImageArray:
    """A picture with the legend of the classes that its labels contain below it.

    Args:
        picture: RGB uint8, shape (H, W, 3), for example an overlay; its pixels stay as they are.
        labels: uint8 train ids, shape (H, W).
        classes: Names and palette.

    Returns:
        RGB uint8, at least ``MIN_LEGEND_WIDTH`` wide; a narrower picture is centred on white.
    """
    height, width = picture.shape[:2]
    total = max(width, MIN_LEGEND_WIDTH)
    key = legend(classes, np.unique(labels).tolist(), total)
    canvas: NDArray[np.uint8] = np.full((height + len(key), total, 3), PAPER, dtype=np.uint8)
    left = (total - width) // 2
    canvas[:height, left : left + width] = picture
    canvas[height:] = key
    return canvas


def fitted(
    name: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    room: int,
    longest: int = MAX_NAME_LENGTH,
) -> str:
    """The name as it can be drawn, cut in its middle to a number of pixels and characters.

    Names of runs begin alike and end with what tells them apart.
    """
    text = printable(name)
    if len(text) <= longest and font.getlength(text) <= room:
        return text
    kept = min(len(text), longest)
    while kept and font.getlength(without_middle(text, kept)) > room:
        kept -= 1
    return without_middle(text, kept)


def without_middle(text: str, kept: int) -> str:
    """The first and last characters, ``kept`` in all."""
    return f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
