"""The contract of a layout, which says how the files of a data set lie, and opening data by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from mixseg.config.values import Size
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset
from mixseg.data.images import ImageArray, LabelArray, image_size, read_image
from mixseg.data.pairing import Folder, Pairing, found_instead, pair_samples
from mixseg.errors import DataError, unknown_name
from mixseg.registry import LAYOUTS

IGNORED = "ignore"
"""Stands in a class map for no class."""

ClassMaps = Mapping[str, Mapping[str, str]]
"""Name of a layout -> source class -> target class, or ``ignore``."""


@final
@dataclass(frozen=True)
class Files:
    """The files of a split, and how they are read.

    Attributes:
        folder: The folder of its images; ids are relative to it.
        images: Id -> image file.
        images_at: Where images should lie, for the message of an empty split.
        labels: Id -> label file, for at least the images; None where the split has no labels.
        labels_at: Where labels should lie, for messages; empty where there should be none.
        lookup: As in :class:`~mixseg.data.contract.SegmentationDataset`; made by
            :func:`~mixseg.data.contract.lookup_table`.
        read_label: Reads a label file as a uint8 map of raw ids, such as a
            :class:`~mixseg.data.masks.LabelReader`.
        classes: The classes, where the files name them; None for those of the layout.
        read_image: ``read_raw_image`` of the data set.
        read_size: Height and width of an image by the header of its file.
        instances: Id -> file that tells single things apart; some or all may be missing.
        read_instances: ``read_instances`` of the data set; None if it has no such files.
    """

    folder: Folder
    images: Mapping[str, Path]
    images_at: str
    labels: Mapping[str, Path] | None
    labels_at: str
    lookup: NDArray[np.int16]
    read_label: Callable[[Path], LabelArray]
    classes: ClassSet | None = None
    read_image: Callable[[Path, Size | None], ImageArray] = read_image
    read_size: Callable[[Path], Size] = image_size
    instances: Mapping[str, Path] = field(default_factory=dict)
    read_instances: Callable[[Path], NDArray[np.int32]] | None = None


class Layout(ABC):
    """All that is known of a data set before its files are read; registered by its name.

    Attributes:
        title: Its name in messages.
        classes: Its classes; None where its files name them.
        split_names: Its splits; empty where the folders are its splits.
        absent: Names of its classes that no label holds.
        lists: Patterns of the text files that it reads, relative to the root; copies take them.
        further_images: Folders of unlabeled images that no split names.
        maps_to: From its classes to those of other layouts; equal names need no map.
        maps_from: From classes of other layouts to its own.
    """

    title: ClassVar[str]
    classes: ClassVar[ClassSet | None] = None
    split_names: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    absent: ClassVar[tuple[str, ...]] = ()
    lists: ClassVar[tuple[str, ...]] = ()
    further_images: ClassVar[tuple[str, ...]] = ()
    maps_to: ClassVar[ClassMaps] = {}
    maps_from: ClassVar[ClassMaps] = {}

    def splits(self, root: Path) -> tuple[str, ...]:
        """Names of the splits that the data set can have; a copy need not hold all of them."""
        return self.split_names

    @abstractmethod
    def files(self, root: Path, split: str) -> Files:
        """List the files of a split in the folder of a data set; none is read yet.

        Raises:
            DataError: They do not follow the layout. :func:`open_dataset` itself refuses a split
                without images and images without a label.
        """


def open_dataset(
    name: str,
    root: Path,
    split: str,
    pair: Pairing = pair_samples,
    layout: Layout | None = None,
) -> SegmentationDataset:
    """List a split of a data set; no image or label is read yet.

    Args:
        name: Name of the layout.
        root: Folder of the data set.
        split: Name of the split in the layout.
        pair: Finds the label of each image; see :mod:`mixseg.data.pairing`.
        layout: A layout with options; by default the one of that name without options.

    Raises:
        DataError: The name or the split is unknown, the root does not exist, or the files do not
            follow the layout.
    """
    layout = layout or layout_of(name)
    if not root.exists():
        raise DataError(f"root of data set {name!r}: {found_instead(root)}")
    if layout.split_names and split not in layout.split_names:
        raise DataError(unknown_name(f"{layout.title} split", split, layout.split_names))
    files = layout.files(root, split)
    classes = files.classes or layout.classes
    if classes is None:
        raise DataError(f"layout {name!r}: neither 'classes' nor its files name the classes")
    if not files.images:
        raise DataError(
            f"{layout.title} split {split!r} is empty: looked for {files.images_at}, but "
            f"{found_instead(files.folder.path)}"
        )
    if files.labels is None:
        samples = tuple(sorted(Sample(key, path) for key, path in files.images.items()))
    else:
        samples = pair(files.images, files.labels, files.labels_at)
        samples = tuple(replace(one, instances=files.instances.get(one.id)) for one in samples)
    kept = {sample.id for sample in samples}
    return SegmentationDataset(
        name=name,
        root=files.folder.path,
        split=split,
        classes=classes,
        samples=samples,
        lookup=files.lookup,
        read_raw_image=files.read_image,
        read_raw_label=files.read_label,
        absent=layout.absent,
        read_size=files.read_size,
        unpaired=tuple(path for key, path in sorted(files.images.items()) if key not in kept),
        looked_for=files.labels_at,
        passed_over=files.folder.passed_over() if files.read_image is read_image else "",
        read_instances=files.read_instances,
    )


def classes_of(name: str) -> ClassSet | None:
    """The classes of a layout, or of ``demo``, where they are known before any file is read."""
    name = "cityscapes" if name == "demo" else name
    return layout_of(name).classes if name in LAYOUTS else None


def layout_of(name: str) -> Layout:
    """The layout of that name without options; an unknown name is a :class:`DataError`."""
    if name not in LAYOUTS:
        raise DataError(unknown_name("data set", name, LAYOUTS))
    return LAYOUTS[name]()
