"""The layouts that ``--dataset`` can name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from mixseg.data import bdd100k, camvid, cityscapes, gta5, synthia, voc
from mixseg.data.bdd100k import BDD100K, open_bdd100k
from mixseg.data.camvid import CAMVID, open_camvid
from mixseg.data.cityscapes import CITYSCAPES, open_cityscapes
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset
from mixseg.data.folder import folder_splits, open_folder
from mixseg.data.gta5 import open_gta5
from mixseg.data.pairing import Pairing, found_instead, pair_samples
from mixseg.data.synthia import open_synthia
from mixseg.data.voc import VOC, open_voc
from mixseg.errors import DataError, unknown_name


class Opener(Protocol):
    """Lists the files of a split."""

    def __call__(self, root: Path, split: str, pair: Pairing = pair_samples) -> SegmentationDataset:
        """The split of a data set in a folder; ``pair`` gives its samples."""


DATASETS: dict[str, Opener] = {
    "bdd100k": open_bdd100k,
    "camvid": open_camvid,
    "cityscapes": open_cityscapes,
    "folder": open_folder,
    "gta5": open_gta5,
    "synthia": open_synthia,
    "voc": open_voc,
}
"""Name -> function of root and split that lists the files of the split."""

SPLITS: dict[str, tuple[str, ...]] = {
    "bdd100k": bdd100k.SPLITS,
    "camvid": camvid.SPLITS,
    "cityscapes": cityscapes.SPLITS,
    "gta5": gta5.SPLITS,
    "synthia": synthia.SPLITS,
    "voc": voc.SPLITS,
}
"""Name -> splits that a layout can have; those of ``folder`` are the folders that are there."""

CLASSES: dict[str, ClassSet] = {
    "bdd100k": BDD100K,
    "camvid": CAMVID,
    "cityscapes": CITYSCAPES,
    "demo": CITYSCAPES,
    "gta5": CITYSCAPES,
    "synthia": CITYSCAPES,
    "voc": VOC,
}
"""Name -> classes, where they are known before any file is read."""


def splits_of(name: str, root: Path) -> tuple[str, ...]:
    """Names of the splits that a data set can have; a copy need not hold all of them.

    Raises:
        DataError: The name is unknown.
    """
    if name not in DATASETS:
        raise DataError(unknown_name("data set", name, DATASETS))
    return SPLITS.get(name) or folder_splits(root)


def open_dataset(
    name: str, root: Path, split: str, pair: Pairing = pair_samples
) -> SegmentationDataset:
    """List a split of a data set; no image or label is read yet.

    Args:
        name: Key of :data:`DATASETS`.
        root: Folder of the data set.
        split: Name of the split, as the layout calls it.
        pair: Finds the label of each image; :func:`mixseg.data.pairing.pair_present` lets images
            be without.

    Raises:
        DataError: The name or the split is unknown, the root does not exist, or the files are not
            laid out as they have to be.
    """
    if name not in DATASETS:
        raise DataError(unknown_name("data set", name, DATASETS))
    if not root.exists():
        raise DataError(f"root of data set {name!r}: {found_instead(root)}")
    unpaired: tuple[Path, ...] = ()
    looked_for = ""

    def remembered(
        images: Mapping[str, Path], labels: Mapping[str, Path], expected: str
    ) -> tuple[Sample, ...]:
        nonlocal unpaired, looked_for
        samples = pair(images, labels, expected)
        kept = {sample.id for sample in samples}
        unpaired = tuple(path for key, path in sorted(images.items()) if key not in kept)
        looked_for = expected
        return samples

    dataset = DATASETS[name](root, split, remembered)
    return dataclasses.replace(
        dataset, unpaired=unpaired, looked_for=looked_for or dataset.looked_for
    )
