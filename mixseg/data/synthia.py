"""SYNTHIA-RAND-CITYSCAPES: renderings of a virtual city; a source of labelled renderings.

Ros et al., "The SYNTHIA Dataset", CVPR 2016. 9400 frames of 760x1280 with 16 of the 19 classes of
Cityscapes: there is no terrain, no truck and no train.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mixseg.data.arrays import LabelArray
from mixseg.data.cityscapes import CITYSCAPES, read_raw_ids
from mixseg.data.cityscapes import RAW_TO_TRAIN as CITYSCAPES_RAW_TO_TRAIN
from mixseg.data.contract import SegmentationDataset, lookup_table
from mixseg.data.images import read_image
from mixseg.data.masks import LabelReader, class_colors
from mixseg.data.pairing import Pairing, files_by_id, found_instead, pair_samples
from mixseg.data.png16 import is_png16, read_first_channel
from mixseg.errors import DataError, unknown_name
from mixseg.ignore import IGNORE

SPLITS = ("train",)

LABEL_IDS = (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11)
"""SYNTHIA's own id of each Cityscapes class; 16, 18 and 20 are in its table, not in its frames."""

ABSENT = ("terrain", "truck", "train")
"""Classes of Cityscapes that SYNTHIA does not show."""

RAW_TO_TRAIN = lookup_table(
    {raw: train for train, raw in enumerate(LABEL_IDS)}, ignore=(*range(23), IGNORE)
)
"""int16, shape (256,): raw id -> train id."""

_OWN = dataclasses.replace(CITYSCAPES, label_ids=LABEL_IDS)
_read_own_ids = LabelReader(
    _OWN,
    RAW_TO_TRAIN,
    (
        *class_colors(_OWN),
        (5, (64, 64, 128)),  # fence, in the color that SYNTHIA gives it
        (0, (0, 0, 0)),
        (13, (250, 170, 160)),
        (14, (128, 64, 64)),
        (22, (102, 102, 156)),  # lane marking, in the color of wall
    ),
    "the colors of SYNTHIA",
)

_MAPPED = "synthia_mapped_to_cityscapes"


def open_synthia(root: Path, split: str, pair: Pairing = pair_samples) -> SegmentationDataset:
    """List SYNTHIA: ``RGB/NNNNNNN.png`` and ``GT/LABELS/NNNNNNN.png``.

    Labels are 16-bit colour pictures with the class in their red channel. Where ``GT/LABELS`` is
    missing, 8-bit maps in ``synthia_mapped_to_cityscapes``, which carry Cityscapes' raw ids, are
    read. All frames are training data.

    Args:
        root: Folder that holds them, or the one that holds it as ``RAND_CITYSCAPES``.
        split: ``train``.
        pair: Gives the samples.

    Raises:
        DataError: The split is unknown or empty, or an image has no label.
    """
    if split not in SPLITS:
        raise DataError(unknown_name("SYNTHIA split", split, SPLITS))
    if not (root / "RGB").is_dir() and (root / "RAND_CITYSCAPES" / "RGB").is_dir():
        root = root / "RAND_CITYSCAPES"
    folder, label_folder = root / "RGB", root / "GT" / "LABELS"
    images = files_by_id(folder, (".png",))
    if not images:
        raise DataError(
            f"SYNTHIA is empty: looked for {folder}/NNNNNNN.png, but {found_instead(folder)}"
        )
    mapped = not label_folder.is_dir() and (root / _MAPPED).is_dir()
    if mapped:
        label_folder = root / _MAPPED
    return SegmentationDataset(
        name="synthia",
        root=folder,
        split=split,
        classes=CITYSCAPES,
        samples=pair(
            images,
            files_by_id(label_folder, (".png",)),
            f"{label_folder}/NNNNNNN.png; {found_instead(label_folder)}",
        ),
        lookup=CITYSCAPES_RAW_TO_TRAIN if mapped else RAW_TO_TRAIN,
        read_raw_image=read_image,
        read_raw_label=read_raw_ids if mapped else _read_label,
        absent=ABSENT,
    )


def _read_label(path: Path) -> LabelArray:
    if not is_png16(path):
        return _read_own_ids(path)  # converted to 8 bits by its owner, with SYNTHIA's ids
    ids = read_first_channel(path)
    if ids.max() > IGNORE:
        raise DataError(f"{path}: label id {ids.max()} is not an id of synthia (0 to 22)")
    if not ids.any():
        # No frame is empty: what looks so went through a program that halves 16 bits.
        raise DataError(
            f"{path}: every pixel has the id 0 (void); was it written again by a program that "
            "reads 8 bits per channel? Unpack the original file"
        )
    return ids.astype("uint8")
