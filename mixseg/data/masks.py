"""Labels as annotation tools write them: ids, black and white, or the colours of a palette."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.data.images import opened_image, read_index_png, stored_mode
from mixseg.errors import DataError


@final
@dataclass(frozen=True)
class MaskReader:
    """Reads a label PNG as ids, whichever of three forms it has.

    Attributes:
        ids: One raw id (0-255) per class.
        colours: One RGB colour (0-255) per class; empty where nobody has said what colours mean.
        description: The file that says so, for messages.
    """

    ids: tuple[int, ...]
    colours: tuple[tuple[int, int, int], ...]
    description: Path

    def __call__(self, path: Path) -> LabelArray:
        """The raw ids of a label file, uint8, shape (height, width).

        8-bit greyscale and palette pictures give the ids that they store, pictures of one bit 0
        and 1, and RGB pictures the ids of the classes whose colours they show.

        Raises:
            DataError: As :func:`mixseg.data.images.read_index_png`; or a colour is that of no
                class, or of two.
        """
        with opened_image(path, ("PNG",)) as image:
            stored = stored_mode(image)
            if stored == "1":
                return np.array(image, dtype=np.uint8)
            if stored in ("RGB", "RGBA"):
                return self._of_colours(_opaque(image, path), path)
        return read_index_png(path)

    def _of_colours(self, pixels: ImageArray, path: Path) -> LabelArray:
        if not self.colours:
            raise DataError(
                f"{path}: a colour picture; expected a label PNG with one class id per pixel, or "
                f"colours that 'palette' in {self.description} names"
            )
        known = _packed(np.array(self.colours, dtype=np.uint8))
        order = np.argsort(known, kind="stable")
        ids, known = np.array(self.ids, dtype=np.uint8)[order], known[order]
        twice = np.flatnonzero(known[1:] == known[:-1])
        if twice.size:
            raise DataError(
                f"{path}: a colour picture, and 'palette' in {self.description} gives two classes "
                f"the colour {list(self.colours[order[twice[0]]])}; let them differ"
            )
        found = _packed(pixels)
        place = np.minimum(np.searchsorted(known, found), len(known) - 1)
        strange = known[place] != found
        if strange.any():
            row, column = np.argwhere(strange)[0].tolist()
            raise DataError(
                f"{path}: the colour {pixels[row, column].tolist()} (row {row}, column {column}) "
                f"is none of 'palette' in {self.description}; {strange.mean():.1%} of the pixels "
                "have such colours. Name it there, or save masks without smoothed edges"
            )
        labels: LabelArray = ids[place]
        return labels


def _opaque(image: Image.Image, path: Path) -> ImageArray:
    """RGB pixels, uint8, shape (height, width, 3)."""
    pixels = np.array(image, dtype=np.uint8)
    # What lies below a transparent pixel is whatever the tool left there.
    if pixels.shape[2] == 4 and (pixels[..., 3] != 255).any():
        raise DataError(f"{path}: a mask with transparent pixels; save it without transparency")
    return pixels[..., :3]


def _packed(colours: ImageArray) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    """RGB along the last axis as one number."""
    red, green, blue = np.moveaxis(colours.astype(np.uint32), -1, 0)
    packed: np.ndarray[tuple[int, ...], np.dtype[np.uint32]] = red << 16 | green << 8 | blue
    return packed
