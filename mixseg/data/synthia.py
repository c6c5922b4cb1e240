"""SYNTHIA-RAND-CITYSCAPES: renderings of a virtual city; a source of labeled renderings.

Ros et al., "The SYNTHIA Dataset", CVPR 2016. 9400 frames of 760x1280 with 16 of the 19 classes of
Cityscapes: there is no terrain, no truck and no train.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar, final

from mixseg.data.cityscapes import CITYSCAPES, RAW_TO_TRAIN, read_raw_ids
from mixseg.data.contract import ClassSet, lookup_table
from mixseg.data.images import LabelArray, is_png16, read_first_channel
from mixseg.data.layout import Files, Layout
from mixseg.data.masks import LabelReader, class_colors
from mixseg.data.pairing import Folder, found_instead
from mixseg.errors import DataError
from mixseg.ignore import IGNORE
from mixseg.registry import LAYOUTS

LABEL_IDS = (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11)
"""SYNTHIA's own id of each Cityscapes class; 16, 18 and 20 are in its table, not in its frames."""

ABSENT = ("terrain", "truck", "train")
"""Classes of Cityscapes that SYNTHIA does not show."""

_LOOKUP = lookup_table(
    {raw: train for train, raw in enumerate(LABEL_IDS)}, ignore=(*range(23), IGNORE)
)
_OWN = dataclasses.replace(CITYSCAPES, label_ids=LABEL_IDS)
_VOID = (
    (5, (64, 64, 128)),  # fence, in the color that SYNTHIA gives it
    (0, (0, 0, 0)),
    (13, (250, 170, 160)),
    (14, (128, 64, 64)),
    (22, (102, 102, 156)),  # lane marking, in the color of wall
)
_read_own_ids = LabelReader(_OWN, _LOOKUP, (*class_colors(_OWN), *_VOID), "the colors of SYNTHIA")


@final
@LAYOUTS.register("synthia")
class SYNTHIA(Layout):
    """Images are ``RGB/NNNNNNN.png``, labels ``GT/LABELS/NNNNNNN.png``.

    Labels are 16-bit color pictures with the class in their red channel. Where ``GT/LABELS`` is
    missing, 8-bit maps in ``synthia_mapped_to_cityscapes``, which carry Cityscapes' raw ids, are
    read. All frames are training data. The root holds the folders, or holds them as
    ``RAND_CITYSCAPES``.
    """

    title = "SYNTHIA"
    classes: ClassVar[ClassSet] = CITYSCAPES
    split_names = ("train",)
    absent: ClassVar[tuple[str, ...]] = ABSENT

    def files(self, root: Path, split: str) -> Files:
        """List the frames."""
        if not (root / "RGB").is_dir() and (root / "RAND_CITYSCAPES" / "RGB").is_dir():
            root = root / "RAND_CITYSCAPES"
        folder, label_folder = Folder(root / "RGB"), root / "GT" / "LABELS"
        mapped_folder = root / "synthia_mapped_to_cityscapes"
        mapped = not label_folder.is_dir() and mapped_folder.is_dir()
        labels = Folder(mapped_folder if mapped else label_folder)
        return Files(
            folder=folder,
            images=folder.by_id(".png"),
            images_at=f"{folder.path}/NNNNNNN.png",
            labels=labels.by_id(".png"),
            labels_at=f"{labels.path}/NNNNNNN.png; {found_instead(labels.path)}",
            lookup=RAW_TO_TRAIN if mapped else _LOOKUP,
            read_label=read_raw_ids if mapped else _read_label,
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
