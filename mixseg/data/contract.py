"""The contract of every data set: RGB ``uint8`` images, ``uint8`` train ids with 255 = ignore."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixseg.config.values import Size
from mixseg.data.images import ImageArray, LabelArray, image_size
from mixseg.data.names import composed
from mixseg.errors import DataError
from mixseg.ignore import IGNORE

UNKNOWN = -1
"""Entry of a lookup table for raw ids that must not occur."""

_NO_CLASS = IGNORE - 1
"""Stands for ``UNKNOWN`` in 8 bits; a class set is too small to have it as a train id."""


@final
@dataclass(frozen=True)
class ClassSet:
    """The classes of a data set, in the order of their train ids.

    Attributes:
        names: One name per train id, in Unicode's composed form.
        palette: One RGB color (0-255) per train id.
        label_ids: The raw id that the data set's own files use for each train id; empty where
            raw ids and train ids are the same.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    label_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(composed, self.names)))
        if not 1 <= len(self.names) < IGNORE:
            raise DataError(f"a class set needs 1 to 254 classes, found {len(self.names)}")
        if len(set(self.names)) != len(self.names):
            raise DataError(f"class names must differ, found {list(self.names)}")
        if len(self.palette) != len(self.names):
            raise DataError(f"{len(self.names)} classes but {len(self.palette)} palette colors")
        if self.label_ids and len(self.label_ids) != len(self.names):
            raise DataError(f"{len(self.names)} classes but {len(self.label_ids)} label ids")

    @classmethod
    def of(
        cls,
        classes: Mapping[str, tuple[int, int, int]] | Sequence[str],
        label_ids: Sequence[int] = (),
    ) -> ClassSet:
        """Classes with their colors, or names alone, which get colors that differ."""
        if isinstance(classes, Mapping):
            return cls(tuple(classes), tuple(classes.values()), tuple(label_ids))
        return cls(tuple(classes), distinct_colors(len(classes)), tuple(label_ids))

    def __len__(self) -> int:
        return len(self.names)


def distinct_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """One RGB color (0-255) per class, evenly spread over the hues."""
    spread = (colorsys.hsv_to_rgb(i / count, 0.8, 1.0 - 0.3 * (i % 2)) for i in range(count))
    return tuple((round(r * 255), round(g * 255), round(b * 255)) for r, g, b in spread)


@final
@dataclass(frozen=True, order=True)
class Sample:
    """One image file and its label file, if it has one.

    The id is unique in the split, has forward slashes, and does not depend on the root's place.
    ``instances`` is a file that tells single things apart, if there is one.
    """

    id: str
    image: Path
    label: Path | None = None
    instances: Path | None = None


@final
@dataclass(frozen=True)
class SegmentationDataset:
    """A split of a data set: its files, its classes and how its label files are read.

    Attributes:
        name: Name of the layout, for messages and tables.
        root: Folder that the sample ids are relative to.
        split: Name of the split.
        classes: The class set of the labels.
        samples: Sorted by id, never empty.
        lookup: int16, shape (256,): raw id -> train id, ``IGNORE``, or ``UNKNOWN``.
        read_raw_image: Reads an image file as RGB uint8; given the size that the image is
            resized to next, it may return a smaller image.
        read_raw_label: Reads a label file as a uint8 map of raw ids.
        absent: Names of classes of the set that no label file holds.
        read_size: Height and width of a whole image by the header of its file.
        unpaired: Image files of the split that were left out because they have no label.
        looked_for: Where labels should lie; empty where the split should have none.
        passed_over: A note on pictures beside the images whose formats are not read.
        in_files: False where the paths of samples only number the items of a Python object.
        read_instances: Reads a file of instances as int32, shape (height, width), 0 = none; ids
            count up within a class. None where there are no such files.
    """

    name: str
    root: Path
    split: str
    classes: ClassSet
    samples: tuple[Sample, ...]
    lookup: NDArray[np.int16]
    read_raw_image: Callable[[Path, Size | None], ImageArray]
    read_raw_label: Callable[[Path], LabelArray]
    absent: tuple[str, ...] = ()
    read_size: Callable[[Path], Size] = image_size
    unpaired: tuple[Path, ...] = ()
    looked_for: str = ""
    passed_over: str = ""
    in_files: bool = True
    read_instances: Callable[[Path], NDArray[np.int32]] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int, target: Size | None = None) -> ImageArray:
        """The RGB image of a sample, uint8, shape (height, width, 3).

        ``target`` is the size that it is resized to next: it may be reduced, but to no less.
        """
        image = self.read_raw_image(self.samples[index].image, target)
        # A reader may return memory that Pillow shares with numpy; torch warns: it is read-only.
        return np.require(image, requirements=["C", "W"])

    def size(self, index: int) -> Size:
        """Height and width of the image of a sample, by its header."""
        return self.read_size(self.samples[index].image)

    def label(self, index: int) -> LabelArray:
        """The train ids of a sample, uint8, shape (height, width), 255 = ignore.

        Raises:
            DataError: The sample has no label file, or the file holds an unknown id.
        """
        path = self.samples[index].label
        if path is None:
            raise DataError(f"{self.samples[index].image} has no label file")
        return self.train_ids(self.read_raw_label(path), path)

    def instances(self, index: int, label: LabelArray) -> NDArray[np.int32]:
        """The instance of each pixel of a sample, int32, shape (height, width), 0 = none.

        Raises:
            DataError: The sample has no file of instances, or it is damaged, or not of the size of
                its label.
        """
        sample = self.samples[index]
        if self.read_instances is None or sample.instances is None:
            raise DataError(f"{sample.image} has no file of instances")
        found = self.read_instances(sample.instances)
        if found.shape != label.shape:
            height, width = label.shape
            raise DataError(
                f"{sample.instances} has {found.shape[1]}x{found.shape[0]} pixels but the label "
                f"{sample.label} has {width}x{height}"
            )
        return found

    def train_ids(self, raw: LabelArray, path: Path) -> LabelArray:
        """The train ids of raw ids; the error of an unknown id names ``path``."""
        table = np.where(self.lookup == UNKNOWN, _NO_CLASS, self.lookup).astype(np.uint8)
        # Bytes through a table of bytes: several times faster than indexing an array with one.
        train = raw.tobytes().translate(table.tobytes())
        if _NO_CLASS in train:
            value = raw.reshape(-1)[train.index(_NO_CLASS)]
            known = np.flatnonzero(self.lookup != UNKNOWN).tolist()
            raise DataError(f"{path}: label id {value} is not an id of {self.name} ({known})")
        # A copy, because arrays on bytes cannot be written to.
        return np.frombuffer(bytearray(train), dtype=np.uint8).reshape(raw.shape)

    def pair(self, index: int, target: Size | None = None) -> tuple[ImageArray, LabelArray]:
        """Image and train ids of a sample; ``target`` is as in :meth:`image`.

        Raises:
            DataError: A file is damaged, or their sizes differ.
        """
        image, label = self.image(index, target), self.label(index)
        # A reduced image does not show the size of its file: it may be as large as a wrong label.
        there = image.shape if target is None else self.size(index)
        if there[:2] != label.shape:
            raise DataError(unequal_sizes(self.samples[index], there, label.shape))
        return image, label


def unequal_sizes(sample: Sample, image: tuple[int, ...], label: tuple[int, ...]) -> str:
    """The message for an image and a label of different shapes (height, width, ...)."""
    message = (
        f"{sample.image} has {image[1]}x{image[0]} pixels but its label {sample.label} has "
        f"{label[1]}x{label[0]}"
    )
    if image[:2] == label[1::-1]:
        message += ". Labels belong to pixels as they are stored: EXIF orientation is not applied"
    return message


def lookup_table(mapping: Mapping[int, int], ignore: Iterable[int]) -> NDArray[np.int16]:
    """The 256-entry table raw id -> train id; ids in neither argument become ``UNKNOWN``."""
    table = np.full(256, UNKNOWN, dtype=np.int16)
    table[list(ignore)] = IGNORE
    for raw, train in mapping.items():
        table[raw] = train
    return table


def train_id_lookup(classes: ClassSet, *ignore: int) -> NDArray[np.int16]:
    """The table for files that hold train ids, where 255 and further ids are ignored."""
    return lookup_table({i: i for i in range(len(classes))}, (IGNORE, *ignore))
