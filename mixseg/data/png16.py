"""The first channel of 16-bit color PNGs, which hold the label maps of SYNTHIA.

Pillow gives 8 bits of each channel, those that a raw mode names, and torchvision's decoder ends the
process on a damaged file. So Pillow reads such a file twice: for the high bytes and for the low.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from mixseg.data.images import opened_image, stored_mode
from mixseg.errors import DataError


def is_png16(path: Path) -> bool:
    """Whether a PNG says that it has 16 bits per channel.

    Raises:
        DataError: The file is missing, or no PNG.
    """
    with opened_image(path, ("PNG",)) as image:
        return stored_mode(image).endswith(";16B")


def read_first_channel(path: Path) -> NDArray[np.uint16]:
    """The red channel of a 16-bit RGB or RGBA PNG, shape (height, width).

    Raises:
        DataError: The file is missing, damaged, larger than
            :data:`mixseg.data.images.MAX_PIXELS`, or not such a PNG.
    """
    with opened_image(path, ("PNG",)) as image:
        image.verify()  # the checksums, at which nobody looks when pixels are read
    high, low = (_first_bytes(path, order) for order in "BL")
    values: NDArray[np.uint16] = (256 * high.astype(np.uint16) + low).astype(np.uint16)
    return values


def _first_bytes(path: Path, order: str) -> NDArray[np.uint8]:
    """The high byte of each value, or with the order of little-endian files the low one."""
    with opened_image(path, ("PNG",)) as image:
        mode = stored_mode(image)
        if mode not in ("RGB;16B", "RGBA;16B"):
            raise DataError(f"{path}: pixels of mode {mode}; expected 16 bits per channel, in RGB")
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [(*image.tile[0][:3], mode[:-1] + order)]  # type: ignore[list-item]
        return np.asarray(image)[:, :, 0]
