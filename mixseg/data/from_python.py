"""Data sets from Python objects instead of files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from mixseg.config.values import Size
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, train_id_lookup
from mixseg.data.images import ImageArray, LabelArray
from mixseg.errors import DataError


class MapStyle(Protocol):
    """A list, or a map-style data set as torch and torchvision have them."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, index: int, /) -> Any:
        """A pair of image and label, or of image and None."""


def from_python(
    items: MapStyle,
    classes: ClassSet | Sequence[str],
    *,
    labeled: Collection[int] | None = None,
    ignore: Sequence[int] = (),
    name: str = "items",
    split: str = "all",
) -> SegmentationDataset:
    """Make a data set for mixseg from a map-style one.

    Ids of samples are the indices of the items, with leading zeros.

    Args:
        items: Each item is an image, uint8 of shape (height, width, 3), RGB, and a label of train
            ids, uint8 of shape (height, width), 255 = ignore, or None. Pillow's images are taken
            as well. Items may be read in several processes, and more than once.
        classes: The class set, or the names of the classes in the order of their ids.
        labeled: Which items have a label; by default all if the first one has one, else none.
        ignore: Further ids that mean no class.
        name: Name of the data set in messages and tables.
        split: Name of its split.

    Raises:
        DataError: There is no item, the first one is no such pair, or the classes are not valid.
    """
    if not len(items):
        raise DataError(f"{name}: there is no item")
    reader = _Items(items, name)
    if labeled is None:
        labeled = range(len(items)) if reader.item(0)[1] is not None else ()
    digits = len(str(len(items) - 1))
    paths = [Path(f"{index:0{digits}d}") for index in range(len(items))]
    known = set(labeled)
    class_set = classes if isinstance(classes, ClassSet) else ClassSet.of(classes)
    return SegmentationDataset(
        name=name,
        root=Path(name),
        split=split,
        classes=class_set,
        samples=tuple(
            Sample(path.name, path, path if index in known else None)
            for index, path in enumerate(paths)
        ),
        lookup=train_id_lookup(class_set, *ignore),
        read_raw_image=reader.image,
        read_raw_label=reader.label,
        read_size=reader.size,
        in_files=False,
    )


@final
class _Items:
    """Reads items by the paths that stand for their indices; the last one is remembered."""

    def __init__(self, items: MapStyle, name: str) -> None:
        self._items = items
        self._name = name
        self._last: tuple[int, ImageArray, LabelArray | None] | None = None

    def item(self, index: int) -> tuple[ImageArray, LabelArray | None]:
        if self._last is None or self._last[0] != index:
            self._last = (index, *self._read(index))
        return self._last[1:]

    def image(self, path: Path, target: Size | None = None) -> ImageArray:
        return self.item(int(path.name))[0]

    def label(self, path: Path) -> LabelArray:
        label = self.item(int(path.name))[1]
        if label is None:
            raise DataError(f"{self._name}: item {int(path.name)} has no label")
        return label

    def size(self, path: Path) -> Size:
        height, width = self.image(path).shape[:2]
        return height, width

    def _read(self, index: int) -> tuple[ImageArray, LabelArray | None]:
        where = f"{self._name}: item {index}"
        item = self._items[index]
        if not isinstance(item, tuple | list) or len(item) != 2:
            found = type(item).__name__
            raise DataError(f"{where} is not a pair of image and label, but {found}")
        image = np.asarray(item[0])
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise DataError(
                f"{where}: the image should be uint8 of shape (height, width, 3), found "
                f"{image.dtype} of shape {image.shape}"
            )
        if item[1] is None:
            return image, None
        label = np.asarray(item[1])
        if label.dtype != np.uint8 or label.ndim != 2:
            raise DataError(
                f"{where}: the label should be uint8 of shape (height, width), found "
                f"{label.dtype} of shape {label.shape}"
            )
        return image, label
