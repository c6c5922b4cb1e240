"""CamVid in the form of the SegNet tutorial: driving video, 360x480, 11 classes.

Brostow, Fauqueur, Cipolla, "Semantic object classes in video: A high-definition ground truth
database", Pattern Recognition Letters 30(2), 2009. 367 images in train, 101 in val, 233 in test.
"""

from __future__ import annotations

from pathlib import Path

from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.data.images import read_image
from mixseg.data.lists import read_list
from mixseg.data.masks import LabelReader, class_colors
from mixseg.data.pairing import (
    IMAGE_ENDINGS,
    Pairing,
    files_by_id,
    found_instead,
    pair_samples,
    without_ending,
)
from mixseg.errors import DataError, unknown_name
from mixseg.ignore import IGNORE

SPLITS = ("train", "val", "test")

CAMVID = ClassSet(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)

_VOID = 11
_LIST_PREFIXES = ("/SegNet/CamVid/",)
_LOOKUP = lookup_table({i: i for i in range(len(CAMVID))}, ignore=(_VOID, IGNORE))
_read_label = LabelReader(
    CAMVID, _LOOKUP, (*class_colors(CAMVID), (_VOID, (0, 0, 0))), "CamVid's colors"
)


def open_camvid(root: Path, split: str, pair: Pairing = pair_samples) -> SegmentationDataset:
    """List a split of CamVid.

    Images are ``SPLIT/*.png`` or ``.jpg``, labels ``SPLITannot/*.png``. Where ``SPLIT.txt``
    exists, it says which images belong to the split; its paths may start at
    ``/SegNet/CamVid/``, as the tutorial's do, and stand for the files of that name below ``root``.

    Args:
        root: Folder of the splits, or the one that holds it as ``CamVid``.
        split: ``train``, ``val`` or ``test``.
        pair: Gives the samples.

    Raises:
        DataError: The split is unknown or empty, an image has no label, or the list names a file
            that is not there.
    """
    if split not in SPLITS:
        raise DataError(unknown_name("CamVid split", split, SPLITS))
    if not (root / split).is_dir() and (root / "CamVid" / split).is_dir():
        root = root / "CamVid"
    folder, label_folder = root / split, root / f"{split}annot"
    images = files_by_id(folder, IMAGE_ENDINGS)
    if not images:
        raise DataError(
            f"CamVid split {split!r} is empty: looked for {folder}/*.png and *.jpg, but "
            f"{found_instead(folder)}"
        )
    list_file = root / f"{split}.txt"
    if list_file.is_file():
        images = _listed(list_file, images, split)
    samples: tuple[Sample, ...] = pair(
        images,
        files_by_id(label_folder, (".png",)),
        f"{label_folder}/*.png; {found_instead(label_folder)}",
    )
    return SegmentationDataset(
        name="camvid",
        root=folder,
        split=split,
        classes=CAMVID,
        samples=samples,
        lookup=_LOOKUP,
        read_raw_image=read_image,
        read_raw_label=_read_label,
    )


def _listed(list_file: Path, images: dict[str, Path], split: str) -> dict[str, Path]:
    """The images that a list names, whatever their ending: copies are often JPEG."""
    chosen: dict[str, Path] = {}
    for entry in read_list(list_file, rebase=_LIST_PREFIXES):
        name = entry.image.removeprefix(f"{split}/")
        key = name if name in images else without_ending(name)
        if key not in images:
            raise DataError(
                f"{list_file}, line {entry.line}: {entry.image!r} is not an image below {split}/"
            )
        chosen[key] = images[key]
    if not chosen:
        raise DataError(f"{list_file} names no image")
    return chosen
