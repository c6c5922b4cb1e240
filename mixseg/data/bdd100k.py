"""BDD100K's segmentation set: photographs behind windscreens, 720x1280, Cityscapes' 19 classes.

Yu et al., "BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning", CVPR 2020,
arXiv:1805.04687. 7000 images in train, 1000 in val, 2000 in test.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, final

from mixseg.data.cityscapes import TRAIN_ID_LOOKUP, TRAIN_IDS, read_train_ids
from mixseg.data.contract import ClassSet
from mixseg.data.layout import Files, Layout
from mixseg.data.pairing import Folder, found_instead
from mixseg.registry import LAYOUTS

_CURRENT = ("images/10k", "labels/sem_seg/masks", ".png")
_OLDER = ("seg/images", "seg/labels", "_train_id.png")
"""Folders of images and of labels in a release, and what a label has instead of ``.jpg``."""


@final
@LAYOUTS.register("bdd100k")
class BDD100K(Layout):
    """Images are ``images/10k/SPLIT/*.jpg``, labels ``labels/sem_seg/masks/SPLIT/*.png``.

    Where there is no ``images/10k``, the folders of the older release are read,
    ``seg/images/SPLIT/*.jpg`` and ``seg/labels/SPLIT/*_train_id.png``. The root holds them, or
    holds the folder ``bdd100k`` of the archives. Files hold train ids, which the benchmark takes
    as well. Samples of ``test`` have no label.
    """

    title = "BDD100K"
    classes: ClassVar[ClassSet] = TRAIN_IDS

    def files(self, root: Path, split: str) -> Files:
        """List a split."""
        root, (images, labels, ending) = self._release(root)
        folder = Folder(root / images / split)
        older = f" and {_OLDER[0]}/{split}/*.jpg" if images != _OLDER[0] else ""
        label_folder = Folder(root / labels / split)
        at = f"{label_folder.path}/*{ending}; {found_instead(label_folder.path)}"
        # The benchmark's server keeps the labels of test.
        labeled = split != "test"
        return Files(
            folder=folder,
            images=folder.by_id(".jpg"),
            images_at=f"{folder.path}/*.jpg{older}",
            labels=label_folder.by_id(ending) if labeled else None,
            labels_at=at if labeled else "",
            lookup=TRAIN_ID_LOOKUP,
            read_label=read_train_ids,
        )

    def _release(self, root: Path) -> tuple[Path, tuple[str, str, str]]:
        """The folder that holds a release, and which one; the current one where there is none."""
        for folder in (root, root / "bdd100k"):
            for release in (_CURRENT, _OLDER):
                if (folder / release[0]).is_dir():
                    return folder, release
        return root, _CURRENT
