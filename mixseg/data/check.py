"""A look at a few samples before hours are spent on all of them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median_low

import numpy as np

from mixseg.data.arrays import LabelArray
from mixseg.data.contract import SegmentationDataset
from mixseg.data.images import image_size
from mixseg.data.pairing import IMAGE_ENDINGS
from mixseg.errors import DataError, named_first
from mixseg.ignore import IGNORE


def check_samples(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    limit: int = 16,
    *,
    skip_bad: bool = False,
) -> None:
    """Read a spread of samples; a wrong label folder or class table shows in the first few.

    Args:
        dataset: The data set.
        indices: Samples that training will use; the first and last of them are always read.
            Those without a label are read as images.
        limit: How many samples to read at most.
        skip_bad: Pass over samples that cannot be read, unless none can.

    Raises:
        DataError: A file is damaged, image and label differ in size, a label holds an unknown id,
            or every label that was read holds nothing but ignored pixels.
    """
    void: list[Path] = []
    has_class = False
    read = 0
    bad: DataError | None = None
    for index in spread(indices, limit):
        path = dataset.samples[index].label
        try:
            if path is None:
                dataset.image(index)
            elif (dataset.pair(index)[1] == IGNORE).all():
                void.append(path)
            else:
                has_class = True
            read += 1
        except DataError as error:
            if not skip_bad:
                raise
            bad = error
    if bad is not None and not read:
        raise bad
    if void and not has_class:
        found = np.unique(dataset.read_raw_label(void[0])).tolist()
        known = np.flatnonzero((dataset.lookup >= 0) & (dataset.lookup != IGNORE)).tolist()
        raise DataError(
            f"all {len(void)} labels read of {dataset.name} {dataset.split!r} hold nothing but "
            f"ignored pixels: {void[0]} has the ids {found}, but classes have the ids {known}. Are "
            "these the right label files?"
        )


def ids_in_labels(
    dataset: SegmentationDataset, indices: Sequence[int], limit: int = 64
) -> tuple[frozenset[int], int]:
    """The raw ids of a spread of labels, and how many labels were read for that.

    Args:
        dataset: The data set.
        indices: Of its samples; those without a label are passed over, and those that cannot be
            read, which is said where they are used.
        limit: Most labels that are read; none after all classes were seen.
    """
    labeled = [index for index in indices if dataset.samples[index].label is not None]
    found: set[int] = set()
    read = 0
    for index in spread(labeled, limit):
        path = dataset.samples[index].label
        assert path is not None
        with contextlib.suppress(DataError):
            found.update(raw_ids(dataset.read_raw_label(path)))
            read += 1
        if not unseen_classes(dataset, found):
            break
    return frozenset(found), read


def raw_ids(label: LabelArray) -> bytes:
    """The ids that a label holds, in order."""
    return bytes(np.flatnonzero(np.bincount(label.reshape(-1), minlength=256)).tolist())


def unseen_classes(dataset: SegmentationDataset, ids: Collection[int]) -> list[str]:
    """The classes that none of some raw ids means, without those that no id of the data means."""
    possible = set(dataset.lookup.tolist())
    seen = {int(dataset.lookup[raw]) for raw in ids}
    names = enumerate(dataset.classes.names)
    return [
        name for train, name in names if train in possible - seen and name not in dataset.absent
    ]


def unseen_note(dataset: SegmentationDataset, ids: Collection[int], read: int, of: int) -> str:
    """A line for people on classes without one labelled pixel; empty if there are none.

    Args:
        dataset: The data set.
        ids: Raw ids of the labels that were read.
        read: How many these are.
        of: How many labels there are.
    """
    unseen = unseen_classes(dataset, ids)
    if not read or not unseen:
        return ""
    labels = f"none of the {read} labels" + ("" if read == of else f" looked at (of {of})")
    note = f"{dataset.name} {dataset.split!r}: {labels} has a pixel of: {named_first(unseen)}"
    black = int(dataset.lookup[0])
    if {*ids} == {0, 255} and dataset.lookup[255] == IGNORE and 0 <= black < IGNORE:
        note += ". The labels hold the ids 0 and 255 alone, and 255 is read as ignore"
        if dataset.name == "folder" and len(dataset.classes) == 2:
            note += (
                f"; where it is {unseen[0]!r}, write into dataset.yaml: "
                f"id_map: {{0: {black}, 255: {1 - black}}} and ignore: []"
            )
    return note


def check_equal_sizes(
    dataset: SegmentationDataset, indices: Sequence[int], *, skip_bad: bool = False
) -> None:
    """Refuse images of different sizes where neither a crop nor a resize makes them equal.

    Args:
        dataset: The data set.
        indices: Images that will share batches; the headers of all are read.
        skip_bad: Pass over images that cannot be read.

    Raises:
        DataError: Two images differ in size.
    """
    first: tuple[str, tuple[int, int]] | None = None
    for index in indices:
        sample = dataset.samples[index]
        try:
            found = (sample.id, dataset.size(index))
        except DataError:
            if not skip_bad:
                raise
            continue
        first = first or found
        if found[1] != first[1]:
            sizes = " and ".join(f"{h}x{w} ({name})" for name, (h, w) in sorted((first, found)))
            raise DataError(
                f"images differ in size, {sizes}, and cannot share a batch: set data.crop or "
                "data.resize"
            )


def spread(indices: Sequence[int], limit: int) -> list[int]:
    """Up to ``limit`` indices at equal distances, the first and the last among them."""
    count = min(limit, len(indices))
    return [indices[k * (len(indices) - 1) // max(count - 1, 1)] for k in range(count)]


def check_same_size(
    labeled: SegmentationDataset,
    labeled_resize: tuple[int, int] | None,
    unlabeled: SegmentationDataset,
    unlabeled_resize: tuple[int, int] | None,
) -> None:
    """Refuse a source and a target of different sizes that no crop makes equal.

    Args:
        labeled: The source.
        labeled_resize: Size that its images are brought to; None keeps them.
        unlabeled: The target.
        unlabeled_resize: As ``labeled_resize``.

    Raises:
        DataError: The sizes differ.
    """
    first = labeled_resize or first_size(labeled, range(len(labeled)))
    second = unlabeled_resize or first_size(unlabeled, range(len(unlabeled)))
    if first != second:
        raise DataError(
            f"images of {labeled.name} have {first[0]}x{first[1]} pixels, those of "
            f"{unlabeled.name} {second[0]}x{second[1]}, and they cannot be mixed: set data.crop"
        )


def first_size(dataset: SegmentationDataset, indices: Sequence[int]) -> tuple[int, int]:
    """Height and width of the first image whose header can be read.

    Raises:
        DataError: None can; the error is that of the first.
    """
    first: DataError | None = None
    for index in indices:
        try:
            return dataset.size(index)
        except DataError as error:
            first = first or error
    raise first or DataError(f"{dataset.name} {dataset.split!r}: there is no image")


def median_side(
    dataset: SegmentationDataset, indices: Sequence[int], limit: int = 20
) -> int | None:
    """The median of the shorter sides of a spread of images, in pixels, by their headers.

    Args:
        dataset: The data set.
        indices: Of its images.
        limit: How many are looked at, at most.

    Returns:
        None where no header can be read: who reads the image says what is wrong with it.
    """
    sides = []
    for index in spread(indices, limit):
        with contextlib.suppress(DataError):
            sides.append(min(dataset.size(index)))
    return median_low(sides) if sides else None


def size_in_header(label: Path) -> tuple[int, int] | None:
    """Height and width of a label file; None for class files of SBD, which have no such header.

    Raises:
        DataError: The file cannot be opened.
    """
    return image_size(label) if label.suffix.lower() in IMAGE_ENDINGS else None


def without_unequal_pairs(
    dataset: SegmentationDataset, *, skip_bad: bool = False
) -> tuple[SegmentationDataset, tuple[str, ...]]:
    """Leave out pairs whose image and label differ in size, by their headers alone.

    GTA5 as published holds some; found in the middle of a run, they would end it.

    Args:
        dataset: The data set.
        skip_bad: Keep pairs whose headers cannot be read, for whoever replaces them later.

    Returns:
        The data set without them, and a line for each.

    Raises:
        DataError: A file cannot be opened, or no pair is left.
    """
    kept, left_out = [], []
    for sample in dataset.samples:
        try:
            image = image_size(sample.image)
            label = (size_in_header(sample.label) if sample.label else None) or image
        except DataError:
            if not skip_bad:
                raise
            kept.append(sample)
            continue
        if image == label:
            kept.append(sample)
        else:
            sizes = " and ".join(f"{width}x{height}" for height, width in (image, label))
            left_out.append(f"{sample.id}: {sizes} pixels")
    if not kept:
        raise DataError(
            f"{dataset.name} {dataset.split!r}: in every pair image and label differ in size, "
            f"the first is {left_out[0]}"
        )
    return dataclasses.replace(dataset, samples=tuple(kept)), tuple(left_out)
