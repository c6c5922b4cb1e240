"""Images without labels, from a folder or a list file, except label files and validation images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, train_id_lookup
from mixseg.data.images import photograph_size, read_index_png, read_photograph
from mixseg.data.layout import Layout, open_dataset
from mixseg.data.lists import read_list
from mixseg.data.names import FilesByName
from mixseg.data.pairing import (
    IMAGE_ENDINGS,
    Folder,
    found_instead,
    pair_present,
    unique_ids,
    without_ending,
)
from mixseg.errors import DataError

ANY_CLASS = ClassSet(("anything",), ((0, 0, 0),))
"""Classes of images that belong to no labeled data set."""


def open_unlabeled(source: Path, classes: ClassSet) -> SegmentationDataset:
    """Images that have no labels, as a data set with the classes of another one.

    They are turned upright by their EXIF orientation, as there is no label that would not be.

    Args:
        source: A folder, searched for PNG and JPEG files at any depth without hidden ones; or a
            list file with one image path per line, relative to the folder of the list.
        classes: Classes of the labeled data set that these images extend.

    Raises:
        DataError: The source does not exist or names no image, or a listed path is missing or
            leads out of the list's folder.
    """
    passed_over = ""
    if source.is_dir():
        root, folder = source, Folder(source)
        images, passed_over = folder.by_id(*IMAGE_ENDINGS), folder.passed_over()
        empty = "no unlabeled images: looked for *.png, *.jpg and *.jpeg at any depth, but "
        empty += found_instead(source)
    elif source.is_file():
        root, images, empty = source.parent, _listed(source), f"{source} names no image"
    else:
        raise DataError(f"unlabeled images: {found_instead(source)}")
    if not images:
        raise DataError(empty)
    return SegmentationDataset(
        name="unlabeled",
        root=root,
        split="unlabeled",
        classes=classes,
        samples=tuple(sorted(Sample(key, path) for key, path in images.items())),
        lookup=train_id_lookup(classes),
        read_raw_image=read_photograph,
        read_raw_label=read_index_png,
        read_size=photograph_size,
        passed_over=passed_over,
    )


def _listed(list_file: Path) -> dict[str, Path]:
    images: dict[str, Path] = {}
    files = FilesByName(list_file.parent)
    for entry in read_list(list_file):
        # A path may contain spaces, or be followed by a label, which is ignored here.
        name, path = entry.text, files.find(entry.text)
        if path is None:
            name, path = entry.image, files.find(entry.image)
        where = f"{list_file}, line {entry.line}"
        if path is None:
            raise DataError(
                f"{where}: {list_file.parent / entry.image} is not a file; paths are relative to "
                "the folder of the list"
            )
        if without_ending(name) == name:
            raise DataError(f"{where}: {name!r} is neither a PNG nor a JPEG file by its name")
        if name in images:
            raise DataError(f"{where}: {name!r} is listed twice")
        images[name] = path
    return {key: images[name] for name, key in unique_ids(images).items()}


def open_photographs(
    source: Path,
    labeled: Sequence[SegmentationDataset],
    validated: Sequence[SegmentationDataset],
    folders: Iterable[tuple[str, Layout, Path]],
) -> tuple[SegmentationDataset, tuple[str, ...]]:
    """The unlabeled images of a run, and notes on files that were left out.

    Label files and validation images are left out, whichever links lead to them.

    Args:
        source: As in :func:`open_unlabeled`.
        labeled: Splits that the run takes labels from; the last one has the classes.
        validated: Splits whose images are left out, too.
        folders: Name, layout and folder of further data sets whose labels are left out.

    Raises:
        DataError: There is no image, or all are left out.
    """
    photographs = open_unlabeled(source, labeled[-1].classes if labeled else ANY_CLASS)
    notes = (f"note: {photographs.passed_over}",) if photographs.passed_over else ()
    known = [*labeled, *(split for folder in folders for split in _splits_there(*folder))]
    photographs, left_out = without_known(photographs, known, validated)
    if not left_out:
        return photographs, notes
    if not len(photographs):
        raise DataError(
            f"no unlabeled images in {source}: {left_out}. Give --unlabeled a folder of other "
            "photographs, or leave it out: with --labeled 1/8 the images of the other labels serve "
            "as unlabeled ones"
        )
    return photographs, (
        *notes,
        f"note: {left_out} in {source} left out of the unlabeled images",
    )


def _splits_there(name: str, layout: Layout, root: Path) -> Iterator[SegmentationDataset]:
    for split in layout.splits(root):
        try:
            yield open_dataset(name, root, split, pair_present, layout)
        except DataError:
            continue  # the run did not ask for it


def without_known(
    photographs: SegmentationDataset,
    labeled: Iterable[SegmentationDataset],
    validated: Iterable[SegmentationDataset],
) -> tuple[SegmentationDataset, str]:
    """Unlabeled images without label files of some splits and images of others.

    A PNG in a folder with labels and without images of a split is a label too, such as Cityscapes'
    ``_color.png``, or a label whose image is gone. The second value says what was left out; it is
    empty if nothing was.
    """
    samples = [sample for dataset in labeled for sample in dataset.samples]
    labels = {_resolved(one.label) for one in samples if one.label is not None}
    image_folders = {_resolved(one.image).parent for one in samples}
    label_folders = {path.parent for path in labels} - image_folders
    scored = {_resolved(one.image) for dataset in validated for one in dataset.samples}
    kept: list[Sample] = []
    known_labels = known_images = 0
    for sample in photographs.samples:
        path = _resolved(sample.image)
        beside = path.suffix.lower() == ".png" and path.parent in label_folders
        if beside or path in labels:
            known_labels += 1
        elif path in scored:
            known_images += 1
        else:
            kept.append(sample)
    counted = ((known_labels, "label files"), (known_images, "validation images"))
    left_out = " and ".join(f"{number} {what}" for number, what in counted if number)
    if not left_out:
        return photographs, ""
    return dataclasses.replace(photographs, samples=tuple(kept)), left_out


def _resolved(path: Path) -> Path:
    # Path.resolve would raise an error for links in a circle, which reading names.
    return Path(os.path.realpath(path))
