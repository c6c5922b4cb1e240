"""Photographs as their viewer sees them: turned upright by their EXIF orientation.

For images that no label file belongs to: labels are drawn on the stored pixels.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from mixseg.data.arrays import ImageArray, Size
from mixseg.data.images import opened_image, rgb_pixels

UPRIGHT = 1
"""The EXIF orientation of pixels that are stored as they are seen."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the stored pixels upright (Pillow turns counter-clockwise)."""

_SIDEWAYS = (5, 6, 7, 8)
"""Orientations whose upright picture is as high as the stored one is wide."""

_ORIENTATION_TAG = 0x0112


def read_photograph(path: Path, target: Size | None = None) -> ImageArray:
    """An upright image: RGB, uint8, shape (height, width, 3).

    Args:
        path: The file.
        target: Height and width that the upright image is resized to next, as in
            :func:`mixseg.data.images.read_image`.

    Raises:
        DataError: As there.
    """
    with opened_image(path) as image:
        if image.format == "PNG":
            # May say how it is turned behind its pixels; a JPEG says so before them, and has to
            # be asked before it is decoded at a size.
            image.load()
        orientation = _orientation(image)
        if target is not None and orientation in _SIDEWAYS:
            target = (target[1], target[0])
        pixels = rgb_pixels(image, path, target)
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))


def photograph_size(path: Path) -> Size:
    """Height and width of the upright image by the file's header; no pixel is decoded.

    Raises:
        DataError: The file is missing, or neither a PNG nor a JPEG.
    """
    with opened_image(path) as image:
        stored = (image.height, image.width)
        return stored[::-1] if _orientation(image) in _SIDEWAYS else stored


def orientation_in_header(path: Path) -> int:
    """The EXIF orientation, 1 to 8; upright where the header has none or it is damaged.

    Raises:
        DataError: The file is missing, or neither a PNG nor a JPEG.
    """
    with opened_image(path) as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        # A PNG's own getexif would decode all pixels to see whether there is any behind them.
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return UPRIGHT
    return value if isinstance(value, int) and value in _TURNS else UPRIGHT
