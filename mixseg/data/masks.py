"""Label PNGs as ids: grayscale, palettes whatever the order of their colors, and color pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixseg.data.contract import UNKNOWN, ClassSet
from mixseg.data.images import (
    ImageArray,
    LabelArray,
    Palette,
    opaque_channels,
    opened_image,
    read_palette_png,
    stored_mode,
)
from mixseg.errors import DataError
from mixseg.ignore import IGNORE

Color = tuple[int, int, int]
"""RGB, 0 to 255."""

IdColors = tuple[tuple[int, Color], ...]
"""Raw ids and the color that each is shown in."""


def class_colors(classes: ClassSet) -> IdColors:
    """The raw id and the color of each class."""
    return tuple(zip(classes.label_ids or range(len(classes)), classes.palette, strict=True))


@final
@dataclass(frozen=True, eq=False)
class LabelReader:
    """Reads a label PNG as raw ids, whichever form it has.

    A grayscale file stores ids. A palette file stores indices and their colors, and a tool that
    rewrites it may put the colors into another order. Where every color that the file uses is one
    of :attr:`colors`, the colors decide. Where none contradicts its index, the indices do, so that
    palettes of unrelated colors are possible. Anything else is an error.

    Attributes:
        classes: The classes of the data set, for messages.
        lookup: int16, shape (256,): raw id -> train id, ``IGNORE`` or ``UNKNOWN``.
        colors: Raw ids and their colors, those of classes first; empty where colors have no
            meaning.
        source: Where these colors are defined, for messages.
        description: The YAML file that defines them; None where the layout does. With such a file,
            color pictures and pictures of one bit are read, too.
        ignored: The value of ``ignore`` in that file, for messages.
    """

    classes: ClassSet
    lookup: NDArray[np.int16]
    colors: IdColors
    source: str
    description: Path | None = None
    ignored: tuple[object, ...] = ()

    def __call__(self, path: Path) -> LabelArray:
        """The raw ids of a label file, uint8, shape (height, width).

        Raises:
            DataError: As :func:`mixseg.data.images.read_index_png`; a color is that of no class, or
                of two; or the indices and the colors of a palette contradict each other.
        """
        if self.description is not None:
            with opened_image(path, ("PNG",)) as image:
                stored = stored_mode(image)
                if stored == "1":
                    return np.array(image, dtype=np.uint8)
                if stored in ("RGB", "RGBA"):
                    return self._of_pixels(opaque_channels(image, path), path)
        indices, palette = read_palette_png(path)
        return indices if palette is None else self._of_palette(indices, palette, path)

    def _of_palette(self, indices: LabelArray, palette: Palette, path: Path) -> LabelArray:
        shown = self._ids_shown(palette)
        means = np.where(shown == UNKNOWN, UNKNOWN, self.lookup[shown])
        differs = (shown != UNKNOWN) & (means != self.lookup)
        # Ids whose color is right although another id has the same one, such as Cityscapes' pole
        # and polegroup.
        for raw, color in self.colors:
            if raw < len(palette) and palette[raw] == color:
                differs[raw] = False
        if not differs.any() or self._is_ramp(palette, shown):
            return indices
        used = np.bincount(indices.reshape(-1), minlength=256) > 0
        differs &= used
        # Most palettes begin with black, which often means no class: a color of no class counts
        # only beside colors of classes.
        if not differs.any() or not (used & (means >= 0) & (means != IGNORE)).any():
            return indices
        strange = used & (shown == UNKNOWN)
        if strange.any():
            raise DataError(self._both_readings(path, palette, shown, differs, strange))
        table = np.where(used, shown, 0).astype(np.uint8)
        ids = bytearray(indices.tobytes().translate(table.tobytes()))
        return np.frombuffer(ids, dtype=np.uint8).reshape(indices.shape)

    def _ids_shown(self, palette: Palette) -> NDArray[np.int16]:
        """The raw id that the color of each index stands for; ``UNKNOWN`` for that of no class."""
        meant: dict[Color, int] = {}
        ambiguous = set()
        for raw, color in self.colors:
            first = self.lookup[meant.setdefault(color, raw)]
            if self.lookup[raw] not in (first, IGNORE):
                ambiguous.add(color)
        shown = np.full(256, UNKNOWN, dtype=np.int16)
        for index, color in enumerate(palette):
            if color not in ambiguous:
                shown[index] = meant.get(color, UNKNOWN)
        # Tools fill a palette up with one color, often that of a class: it means nothing at an
        # ignored id.
        end = len(palette) - 1
        while end > 0 and palette[end - 1] == palette[-1]:
            end -= 1
        if end < len(palette) - 1 and self.lookup[shown[len(palette) - 1]] != IGNORE:
            shown[end:][self.lookup[end:] == IGNORE] = UNKNOWN
        return shown

    def _is_ramp(self, palette: Palette, shown: NDArray[np.int16]) -> bool:
        """Whether a palette is a scale of grays, whose colors mean nothing."""
        end = len(palette)
        while end > 1 and palette[end - 1] == (0, 0, 0):
            end -= 1
        grays = [red for red, green, blue in palette[:end] if red == green == blue]
        rising = all(one < other for one, other in pairwise(grays))
        return len(grays) == end > 1 and rising and bool((shown[:end] == UNKNOWN).any())

    def _both_readings(
        self,
        path: Path,
        palette: Palette,
        shown: NDArray[np.int16],
        differs: NDArray[np.bool_],
        strange: NDArray[np.bool_],
    ) -> str:
        index, other = int(differs.argmax()), int(strange.argmax())
        color = list(palette[index])
        if other >= len(palette):
            rest = f"index {other} has no color"
        else:
            rest = f"index {other} has the color {list(palette[other])}, which {self.source} lacks"
        remedy = "Where the indices are right, save the labels as grayscale PNGs; where the colors"
        if self.description is not None and other < len(palette):
            remedy += f" are, name that color, too: {self._naming(palette[other])}"
        else:
            remedy += f" are, save them with no other colors than those of {self.source}"
        return (
            f"{path}: the indices and the colors of its palette mean different classes: index "
            f"{index} is {self._meaning(index)}, but its color {color} is that of "
            f"{self._meaning(int(shown[index]))} in {self.source}; and not all of its colors are "
            f"known: {rest}. {remedy}"
        )

    def _meaning(self, raw: int) -> str:
        train = int(self.lookup[raw])
        if train == UNKNOWN:
            return "no id of the data set"
        return "ignored" if train == IGNORE else f"class {self.classes.names[train]!r}"

    def _naming(self, color: Color) -> str:
        """How to define a color in ``dataset.yaml``, with a line that can be copied."""
        line = ", ".join(str(value) for value in (list(color), *self.ignored))
        return (
            "a class has a name in 'names' and a color in 'palette'; for no class, the line for "
            f"'ignore' in {self.description} is 'ignore: [{line}]'"
        )

    def _of_pixels(self, pixels: ImageArray, path: Path) -> LabelArray:
        if not self.colors:
            raise DataError(
                f"{path}: a color picture; expected a label PNG with one class id per pixel, or "
                f"colors that {self.source} names"
            )
        known = _packed(np.array([color for _, color in self.colors], dtype=np.uint8))
        order = np.argsort(known, kind="stable")
        ids, known = np.array([raw for raw, _ in self.colors], dtype=np.uint8)[order], known[order]
        twice = np.flatnonzero(known[1:] == known[:-1])
        if twice.size:
            raise DataError(
                f"{path}: a color picture, and {self.source} gives two classes the color "
                f"{list(self.colors[order[twice[0]]][1])}; let them differ"
            )
        found = _packed(pixels)
        place = np.minimum(np.searchsorted(known, found), len(known) - 1)
        strange = known[place] != found
        if strange.any():
            row, column = np.argwhere(strange)[0].tolist()
            red, green, blue = pixels[row, column].tolist()
            raise DataError(
                f"{path}: the color {[red, green, blue]} (row {row}, column {column}) is none of "
                f"{self.source}; {strange.mean():.1%} of the pixels have such colors. Save masks "
                f"without smoothed edges, or name it: {self._naming((red, green, blue))}"
            )
        labels: LabelArray = ids[place]
        return labels


def _packed(colors: ImageArray) -> NDArray[np.uint32]:
    """RGB along the last axis as one number."""
    red, green, blue = np.moveaxis(colors.astype(np.uint32), -1, 0)
    packed: NDArray[np.uint32] = red << 16 | green << 8 | blue
    return packed
