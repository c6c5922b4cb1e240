"""Images without labels, from anywhere: a folder or a list file."""

from __future__ import annotations

from pathlib import Path

from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.data.images import read_index_png
from mixseg.data.lists import read_list
from mixseg.data.names import FilesByName
from mixseg.data.pairing import (
    IMAGE_ENDINGS,
    files_by_id,
    found_instead,
    unique_ids,
    without_ending,
)
from mixseg.data.photographs import photograph_size, read_photograph
from mixseg.errors import DataError
from mixseg.ignore import IGNORE

ANY_CLASS = ClassSet(("anything",), ((0, 0, 0),))
"""Classes of images that belong to no labelled data set."""


def open_unlabeled(source: Path, classes: ClassSet) -> SegmentationDataset:
    """Images that have no labels, as a data set with the classes of another one.

    They are turned upright by their EXIF orientation, as no label would be left behind.

    Args:
        source: A folder, searched for PNG and JPEG files at any depth without hidden ones; or a
            list file with one image path per line, relative to the folder of the list.
        classes: Classes of the labelled data set that these images extend.

    Raises:
        DataError: The source does not exist or names no image, or a listed path is missing or
            leads out of the list's folder.
    """
    if source.is_dir():
        root, images = source, files_by_id(source, IMAGE_ENDINGS)
    elif source.is_file():
        root, images = source.parent, _listed(source)
    else:
        raise DataError(f"unlabelled images: {found_instead(source)}")
    if not images:
        raise DataError(
            f"no unlabelled images: looked for *.png, *.jpg and *.jpeg at any depth, but "
            f"{found_instead(source)}"
            if source.is_dir()
            else f"{source} names no image"
        )
    return SegmentationDataset(
        name="unlabeled",
        root=root,
        split="unlabeled",
        classes=classes,
        samples=tuple(sorted(Sample(key, path) for key, path in images.items())),
        lookup=lookup_table({i: i for i in range(len(classes))}, ignore=(IGNORE,)),
        read_raw_image=read_photograph,
        read_raw_label=read_index_png,
        read_size=photograph_size,
    )


def _listed(list_file: Path) -> dict[str, Path]:
    images: dict[str, Path] = {}
    files = FilesByName(list_file.parent)
    for entry in read_list(list_file):
        # A path may contain spaces, or be followed by a label that is of no use here.
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
