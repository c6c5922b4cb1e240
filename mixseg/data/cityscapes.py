"""Cityscapes: street scenes of 50 cities, 1024x2048, 19 classes.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016,
arXiv:1604.01685. 2975 images in train, 500 in val, 1525 in test.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mixseg.data.arrays import LabelArray
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.data.images import read_image
from mixseg.data.masks import Color, LabelReader, class_colors
from mixseg.data.pairing import Pairing, files_by_id, found_instead, pair_samples
from mixseg.errors import DataError, unknown_name
from mixseg.ignore import IGNORE

SPLITS = ("train", "val", "test")

CITYSCAPES = ClassSet(
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    palette=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
    label_ids=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)
"""The 19 evaluated classes; ``label_ids`` are the raw ids of ``_labelIds.png``."""

RAW_TO_TRAIN = lookup_table(
    {raw: train for train, raw in enumerate(CITYSCAPES.label_ids)},
    # Raw ids end at 33; 255 is how id -1 (license plate) looks in 8 bits.
    ignore=(*range(34), IGNORE),
)
"""int16, shape (256,): raw id -> train id."""

VOID_COLORS: dict[int, Color] = {
    **dict.fromkeys((0, 1, 2, 3, 4), (0, 0, 0)),
    5: (111, 74, 0),
    6: (81, 0, 81),
    9: (250, 170, 160),
    10: (230, 150, 140),
    14: (180, 165, 180),
    15: (150, 100, 100),
    16: (150, 120, 90),
    18: (153, 153, 153),  # polegroup, in the color of pole
    29: (0, 0, 90),
    30: (0, 0, 110),
    IGNORE: (0, 0, 142),  # license plate, in the color of car
}
"""Raw ids of no class and their colors."""

_COLORS = "the colors of Cityscapes"

read_raw_ids = LabelReader(
    CITYSCAPES, RAW_TO_TRAIN, (*class_colors(CITYSCAPES), *VOID_COLORS.items()), _COLORS
)
"""Reads a label PNG of raw ids."""

TRAIN_IDS = dataclasses.replace(CITYSCAPES, label_ids=())
"""The same classes in files of train ids."""

TRAIN_ID_LOOKUP = lookup_table({i: i for i in range(len(TRAIN_IDS))}, ignore=(IGNORE,))
"""int16, shape (256,): ids of such files -> train id."""

read_train_ids = LabelReader(
    TRAIN_IDS,
    TRAIN_ID_LOOKUP,
    (*class_colors(TRAIN_IDS), *((IGNORE, color) for color in VOID_COLORS.values())),
    _COLORS,
)
"""Reads a label PNG of train ids."""

_IMAGE = "_leftimg8bit.png"
_LABEL_IDS = "_gtfine_labelids.png"
_TRAIN_IDS = "_gtfine_labeltrainids.png"


def open_cityscapes(root: Path, split: str, pair: Pairing = pair_samples) -> SegmentationDataset:
    """List a split of Cityscapes.

    Images are ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png``, labels
    ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png`` or, where that file is missing,
    ``*_gtFine_labelTrainIds.png``. Both folders may still lie in those of their archives,
    ``leftImg8bit_trainvaltest`` and ``gtFine_trainvaltest``. Samples of ``test`` have no label.

    Args:
        root: Folder that holds the two.
        split: ``train``, ``val`` or ``test``.
        pair: Gives the samples.

    Raises:
        DataError: The split is unknown or empty, or an image has no label.
    """
    if split not in SPLITS:
        raise DataError(unknown_name("Cityscapes split", split, SPLITS))
    folder = _archive_folder(root, "leftImg8bit") / split
    images = _as_ids(files_by_id(folder, (_IMAGE,)))
    if not images:
        raise DataError(
            f"Cityscapes split {split!r} is empty: looked for {folder}/*/*_leftImg8bit.png, but "
            f"{found_instead(folder)}"
        )
    if split == "test":
        # gtFine/test holds placeholders; the real labels are kept by the benchmark's server.
        pairs = tuple(Sample(key, path) for key, path in images.items())
    else:
        labels_folder = _archive_folder(root, "gtFine") / split
        labels = _as_ids(
            files_by_id(labels_folder, (_TRAIN_IDS,)) | files_by_id(labels_folder, (_LABEL_IDS,))
        )
        pairs = pair(
            images,
            labels,
            f"{labels_folder}/CITY/*_gtFine_labelIds.png or *_gtFine_labelTrainIds.png; "
            f"{found_instead(labels_folder)}",
        )
    return SegmentationDataset(
        name="cityscapes",
        root=folder,
        split=split,
        classes=CITYSCAPES,
        samples=tuple(sorted(pairs)),
        lookup=RAW_TO_TRAIN,
        read_raw_image=read_image,
        read_raw_label=_read_label,
    )


def _as_ids(files: dict[str, Path]) -> dict[str, Path]:
    """Ids as split files have them."""
    return {f"{key}_leftImg8bit": path for key, path in files.items()}


def _archive_folder(root: Path, name: str) -> Path:
    unpacked = root / f"{name}_trainvaltest" / name
    return unpacked if unpacked.is_dir() and not (root / name).is_dir() else root / name


# Train id -> raw id, so that one lookup table serves both kinds of label files.
_TRAIN_TO_RAW = np.full(256, IGNORE, dtype=np.uint8)
_TRAIN_TO_RAW[: len(CITYSCAPES)] = CITYSCAPES.label_ids


def _read_label(path: Path) -> LabelArray:
    if not path.name.lower().endswith(_TRAIN_IDS):
        return read_raw_ids(path)
    ids = read_train_ids(path)
    unknown = (ids >= len(CITYSCAPES)) & (ids != IGNORE)
    if unknown.any():
        raise DataError(
            f"{path}: train id {int(ids[unknown][0])} is not one of cityscapes "
            f"(0 to {len(CITYSCAPES) - 1}, {IGNORE})"
        )
    return _TRAIN_TO_RAW[ids]
