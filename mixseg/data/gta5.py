"""GTA5: frames of a game with the classes of Cityscapes; a source of labeled renderings.

Richter et al., "Playing for Data: Ground Truth from Computer Games", ECCV 2016, arXiv:1608.02192.
24966 frames of 1052x1914.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, final

from mixseg.data.cityscapes import CITYSCAPES, COLORS, VOID_COLORS
from mixseg.data.contract import ClassSet, lookup_table
from mixseg.data.layout import Files, Layout
from mixseg.data.masks import LabelReader, class_colors
from mixseg.data.pairing import Folder, found_instead
from mixseg.ignore import IGNORE
from mixseg.registry import LAYOUTS

_LOOKUP = lookup_table(
    {raw: train for train, raw in enumerate(CITYSCAPES.label_ids)},
    # Cityscapes' raw ids, and 34 for the license plate, which Cityscapes calls -1.
    ignore=(*range(35), IGNORE),
)
_VOID = (*VOID_COLORS.items(), (4, (20, 20, 20)), (34, VOID_COLORS[IGNORE]))
_read_label = LabelReader(CITYSCAPES, _LOOKUP, (*class_colors(CITYSCAPES), *_VOID), COLORS)


@final
@LAYOUTS.register("gta5")
class GTA5(Layout):
    """Images are ``images/NNNNN.png``, labels palette pictures ``labels/NNNNN.png``.

    All frames are training data. A few of the published labels have another size than their
    image; :func:`mixseg.data.check.without_unequal_pairs` finds them.
    """

    title = "GTA5"
    classes: ClassVar[ClassSet] = CITYSCAPES
    split_names = ("train",)

    def files(self, root: Path, split: str) -> Files:
        """List the frames."""
        folder, labels = Folder(root / "images"), Folder(root / "labels")
        return Files(
            folder=folder,
            images=folder.by_id(".png"),
            images_at=f"{folder.path}/NNNNN.png",
            labels=labels.by_id(".png"),
            labels_at=f"{labels.path}/NNNNN.png; {found_instead(labels.path)}",
            lookup=_LOOKUP,
            read_label=_read_label,
        )
