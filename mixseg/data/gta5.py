"""GTA5: frames of a game with the classes of Cityscapes; a source of labelled renderings.

Richter et al., "Playing for Data: Ground Truth from Computer Games", ECCV 2016, arXiv:1608.02192.
24966 frames of 1052x1914.
"""

from __future__ import annotations

from pathlib import Path

from mixseg.data.cityscapes import CITYSCAPES, VOID_COLORS
from mixseg.data.contract import SegmentationDataset, lookup_table
from mixseg.data.images import read_image
from mixseg.data.masks import LabelReader, class_colors
from mixseg.data.pairing import Pairing, files_by_id, found_instead, pair_samples
from mixseg.errors import DataError, unknown_name
from mixseg.ignore import IGNORE

SPLITS = ("train",)

RAW_TO_TRAIN = lookup_table(
    {raw: train for train, raw in enumerate(CITYSCAPES.label_ids)},
    # Cityscapes' raw ids, and 34 for the license plate, which Cityscapes calls -1.
    ignore=(*range(35), IGNORE),
)
"""int16, shape (256,): raw id -> train id."""

_read_label = LabelReader(
    CITYSCAPES,
    RAW_TO_TRAIN,
    (
        *class_colors(CITYSCAPES),
        *VOID_COLORS.items(),
        (4, (20, 20, 20)),
        (34, VOID_COLORS[IGNORE]),
    ),
    "the colors of Cityscapes",
)


def open_gta5(root: Path, split: str, pair: Pairing = pair_samples) -> SegmentationDataset:
    """List GTA5: ``images/NNNNN.png`` and palette pictures ``labels/NNNNN.png``.

    All frames are training data. A few of the published labels have another size than their
    image; :func:`mixseg.data.check.without_unequal_pairs` finds them.

    Args:
        root: Folder that holds the two.
        split: ``train``.
        pair: Gives the samples.

    Raises:
        DataError: The split is unknown or empty, or an image has no label.
    """
    if split not in SPLITS:
        raise DataError(unknown_name("GTA5 split", split, SPLITS))
    folder, label_folder = root / "images", root / "labels"
    images = files_by_id(folder, (".png",))
    if not images:
        raise DataError(
            f"GTA5 is empty: looked for {folder}/NNNNN.png, but {found_instead(folder)}"
        )
    return SegmentationDataset(
        name="gta5",
        root=folder,
        split=split,
        classes=CITYSCAPES,
        samples=pair(
            images,
            files_by_id(label_folder, (".png",)),
            f"{label_folder}/NNNNN.png; {found_instead(label_folder)}",
        ),
        lookup=RAW_TO_TRAIN,
        read_raw_image=read_image,
        read_raw_label=_read_label,
    )
