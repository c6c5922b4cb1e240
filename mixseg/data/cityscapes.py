"""Cityscapes: street scenes of 50 cities, 1024x2048, 19 classes.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016,
arXiv:1604.01685. 2975 images in train, 500 in val, 1525 in test.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from mixseg.data.contract import ClassSet, lookup_table, train_id_lookup
from mixseg.data.images import LabelArray, read_gray_png
from mixseg.data.layout import IGNORED, ClassMaps, Files, Layout
from mixseg.data.masks import Color, LabelReader, class_colors
from mixseg.data.pairing import Folder, found_instead
from mixseg.errors import DataError
from mixseg.ignore import IGNORE
from mixseg.registry import LAYOUTS

CITYSCAPES = ClassSet.of(
    {
        "road": (128, 64, 128),
        "sidewalk": (244, 35, 232),
        "building": (70, 70, 70),
        "wall": (102, 102, 156),
        "fence": (190, 153, 153),
        "pole": (153, 153, 153),
        "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0),
        "vegetation": (107, 142, 35),
        "terrain": (152, 251, 152),
        "sky": (70, 130, 180),
        "person": (220, 20, 60),
        "rider": (255, 0, 0),
        "car": (0, 0, 142),
        "truck": (0, 0, 70),
        "bus": (0, 60, 100),
        "train": (0, 80, 100),
        "motorcycle": (0, 0, 230),
        "bicycle": (119, 11, 32),
    },
    label_ids=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)
"""The 19 evaluated classes; ``label_ids`` are the raw ids of ``_labelIds.png``."""

# CamVid's 11 classes joined its 32: walls are buildings, trucks and buses are cars.
CITYSCAPES_TO_CAMVID = {
    "road": "road",
    "sidewalk": "pavement",
    "building": "building",
    "wall": "building",
    "fence": "fence",
    "pole": "pole",
    "traffic light": "sign symbol",
    "traffic sign": "sign symbol",
    "vegetation": "tree",
    "terrain": "tree",
    "sky": "sky",
    "person": "pedestrian",
    "rider": "bicyclist",
    "car": "car",
    "truck": "car",
    "bus": "car",
    "train": IGNORED,
    "motorcycle": "bicyclist",
    "bicycle": "bicyclist",
}

CITYSCAPES_TO_VOC = dict.fromkeys(CITYSCAPES.names, "background") | {
    "person": "person",
    "rider": "person",
    "car": "car",
    "truck": IGNORED,
    "bus": "bus",
    "train": "train",
    "motorcycle": "motorbike",
    "bicycle": "bicycle",
}

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

COLORS = "the colors of Cityscapes"
"""What messages call the palette."""

read_raw_ids = LabelReader(
    CITYSCAPES, RAW_TO_TRAIN, (*class_colors(CITYSCAPES), *VOID_COLORS.items()), COLORS
)
"""Reads a label PNG of raw ids."""

TRAIN_IDS = dataclasses.replace(CITYSCAPES, label_ids=())
"""The same classes in files of train ids."""

TRAIN_ID_LOOKUP = train_id_lookup(TRAIN_IDS)
"""int16, shape (256,): ids of such files -> train id."""

read_train_ids = LabelReader(
    TRAIN_IDS,
    TRAIN_ID_LOOKUP,
    (*class_colors(TRAIN_IDS), *((IGNORE, color) for color in VOID_COLORS.values())),
    COLORS,
)
"""Reads a label PNG of train ids."""

_TRAIN_ID_ENDING = "_gtfine_labeltrainids.png"


@final
@LAYOUTS.register("cityscapes")
class Cityscapes(Layout):
    """Images are ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png``.

    Labels are ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png`` or, where that file is missing,
    ``*_gtFine_labelTrainIds.png``. Both folders may still lie in those of their archives,
    ``leftImg8bit_trainvaltest`` and ``gtFine_trainvaltest``. Samples of ``test`` have no label.
    ``*_gtFine_instanceIds.png`` tell things apart.
    """

    title = "Cityscapes"
    classes: ClassVar[ClassSet] = CITYSCAPES
    further_images = (
        "leftImg8bit/train_extra",
        "leftImg8bit_trainextra/leftImg8bit/train_extra",
    )
    maps_to: ClassVar[ClassMaps] = {"camvid": CITYSCAPES_TO_CAMVID, "voc": CITYSCAPES_TO_VOC}

    def files(self, root: Path, split: str) -> Files:
        """List a split."""
        folder = Folder(_archive_folder(root, "leftImg8bit") / split)
        labels = Folder(_archive_folder(root, "gtFine") / split)
        at = (
            f"{labels.path}/CITY/*_gtFine_labelIds.png or *_gtFine_labelTrainIds.png; "
            f"{found_instead(labels.path)}"
        )
        both = labels.by_id(_TRAIN_ID_ENDING) | labels.by_id("_gtfine_labelids.png")
        # gtFine/test holds placeholders; the benchmark's server keeps the real labels.
        labeled = split != "test"
        return Files(
            folder=folder,
            images=_as_ids(folder.by_id("_leftimg8bit.png")),
            images_at=f"{folder.path}/*/*_leftImg8bit.png",
            labels=_as_ids(both) if labeled else None,
            labels_at=at if labeled else "",
            lookup=RAW_TO_TRAIN,
            read_label=_read_label,
            instances=_as_ids(labels.by_id("_gtfine_instanceids.png")),
            read_instances=_read_instances,
        )


def _read_instances(path: Path) -> NDArray[np.int32]:
    """1000 times the raw id plus a number for each thing; 0 for others, which have the id alone."""
    ids = read_gray_png(path)
    return np.where(ids >= 1000, ids, 0).astype(np.int32)


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
    if not path.name.lower().endswith(_TRAIN_ID_ENDING):
        return read_raw_ids(path)
    ids = read_train_ids(path)
    unknown = (ids >= len(CITYSCAPES)) & (ids != IGNORE)
    if unknown.any():
        raise DataError(
            f"{path}: train id {int(ids[unknown][0])} is not one of cityscapes "
            f"(0 to {len(CITYSCAPES) - 1}, {IGNORE})"
        )
    return _TRAIN_TO_RAW[ids]
