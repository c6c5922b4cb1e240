"""BDD100K's segmentation set: photographs behind windscreens, 720x1280, Cityscapes' 19 classes.

Yu et al., "BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning", CVPR 2020,
arXiv:1805.04687. 7000 images in train, 1000 in val, 2000 in test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from mixseg.data.cityscapes import TRAIN_ID_LOOKUP, TRAIN_IDS, read_train_ids
from mixseg.data.contract import Sample, SegmentationDataset
from mixseg.data.images import read_image
from mixseg.data.pairing import Pairing, files_by_id, found_instead, pair_samples
from mixseg.errors import DataError, unknown_name

SPLITS = ("train", "val", "test")

BDD100K = TRAIN_IDS
"""Names and colours of Cityscapes; files hold train ids, which the benchmark takes as well."""


@final
@dataclass(frozen=True)
class _Release:
    """Where a release keeps the files of a split.

    Attributes:
        images: Folder of the splits' images, below the root.
        labels: Folder of the splits' labels, below the root.
        ending: What a label has instead of the image's ``.jpg``.
    """

    images: Path
    labels: Path
    ending: str


_MASKS = _Release(Path("images/10k"), Path("labels/sem_seg/masks"), ".png")
_OLDER = _Release(Path("seg/images"), Path("seg/labels"), "_train_id.png")


def open_bdd100k(root: Path, split: str, pair: Pairing = pair_samples) -> SegmentationDataset:
    """List a split of BDD100K.

    Images are ``images/10k/SPLIT/*.jpg``, labels ``labels/sem_seg/masks/SPLIT/*.png``; where there
    is no ``images/10k``, the folders of the older release are read, ``seg/images/SPLIT/*.jpg`` and
    ``seg/labels/SPLIT/*_train_id.png``. Samples of ``test`` have no label.

    Args:
        root: Folder that holds them, or the one that holds it as ``bdd100k``, as the archives
            unpack.
        split: ``train``, ``val`` or ``test``.
        pair: Gives the samples.

    Raises:
        DataError: The split is unknown or empty, or an image has no label.
    """
    if split not in SPLITS:
        raise DataError(unknown_name("BDD100K split", split, SPLITS))
    root, release = _find(root)
    folder = root / release.images / split
    images = files_by_id(folder, (".jpg",))
    if not images:
        raise DataError(
            f"BDD100K split {split!r} is empty: looked for {folder}/*.jpg"
            + (f" and {_OLDER.images / split}/*.jpg" if release is _MASKS else "")
            + f", but {found_instead(folder)}"
        )
    if split == "test":
        # The real labels are kept by the benchmark's server.
        samples = tuple(sorted(Sample(key, path) for key, path in images.items()))
    else:
        label_folder = root / release.labels / split
        samples = pair(
            images,
            files_by_id(label_folder, (release.ending,)),
            f"{label_folder}/*{release.ending}; {found_instead(label_folder)}",
        )
    return SegmentationDataset(
        name="bdd100k",
        root=folder,
        split=split,
        classes=BDD100K,
        samples=samples,
        lookup=TRAIN_ID_LOOKUP,
        read_raw_image=read_image,
        read_raw_label=read_train_ids,
    )


def _find(root: Path) -> tuple[Path, _Release]:
    """The folder that holds a release, and which one; the newer one where there is none."""
    for folder in (root, root / "bdd100k"):
        for release in (_MASKS, _OLDER):
            if (folder / release.images).is_dir():
                return folder, release
    return root, _MASKS
