"""CamVid in the form of the SegNet tutorial: driving video, 360x480, 11 classes.

Brostow, Fauqueur, Cipolla, "Semantic object classes in video: A high-definition ground truth
database", Pattern Recognition Letters 30(2), 2009. 367 images in train, 101 in val, 233 in test.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, final

from mixseg.data.contract import ClassSet, train_id_lookup
from mixseg.data.layout import IGNORED, ClassMaps, Files, Layout
from mixseg.data.lists import read_list
from mixseg.data.masks import LabelReader, class_colors
from mixseg.data.pairing import IMAGE_ENDINGS, Folder, found_instead, without_ending
from mixseg.errors import DataError
from mixseg.registry import LAYOUTS

CAMVID = ClassSet.of(
    {
        "sky": (128, 128, 128),
        "building": (128, 0, 0),
        "pole": (192, 192, 128),
        "road": (128, 64, 128),
        "pavement": (60, 40, 222),
        "tree": (128, 128, 0),
        "sign symbol": (192, 128, 128),
        "fence": (64, 64, 128),
        "car": (64, 0, 128),
        "pedestrian": (64, 64, 0),
        "bicyclist": (0, 128, 192),
    }
)

# Each class becomes that of most of its pixels; 9 classes of Cityscapes have none.
CAMVID_TO_CITYSCAPES = {
    "sky": "sky",
    "building": "building",  # with a few walls, bridges and archways
    "pole": "pole",
    "road": "road",  # with the lane markings, as in Cityscapes
    "pavement": "sidewalk",  # with parking places and road shoulders
    "tree": "vegetation",  # with bushes and grass; grass alone would be terrain
    # Lights, signs, and advertisements, no traffic signs in Cityscapes: no class prevails.
    "sign symbol": IGNORED,
    "fence": "fence",
    "car": "car",  # with a few trucks and buses
    "pedestrian": "person",  # with strollers and animals
    # The rider and the bicycle: most pixels are the rider, and bicycles alone are rare there.
    "bicyclist": "rider",
}

_VOID = 11
_LOOKUP = train_id_lookup(CAMVID, _VOID)
_read_label = LabelReader(
    CAMVID, _LOOKUP, (*class_colors(CAMVID), (_VOID, (0, 0, 0))), "CamVid's colors"
)


@final
@LAYOUTS.register("camvid")
class CamVid(Layout):
    """Images are ``SPLIT/*.png`` or ``.jpg``, labels ``SPLITannot/*.png``.

    Where ``SPLIT.txt`` exists, it says which images belong to the split; its paths may start at
    ``/SegNet/CamVid/``, as the tutorial's do, and stand for the files of that name below the root.
    The root holds the splits, or holds them as ``CamVid``.
    """

    title = "CamVid"
    classes: ClassVar[ClassSet] = CAMVID
    lists = ("*.txt", "CamVid/*.txt")
    maps_to: ClassVar[ClassMaps] = {"cityscapes": CAMVID_TO_CITYSCAPES}

    def files(self, root: Path, split: str) -> Files:
        """List a split."""
        if not (root / split).is_dir() and (root / "CamVid" / split).is_dir():
            root = root / "CamVid"
        folder, labels = Folder(root / split), Folder(root / f"{split}annot")
        images = folder.by_id(*IMAGE_ENDINGS)
        list_file = root / f"{split}.txt"
        if images and list_file.is_file():
            images = _listed(list_file, images, split)
        return Files(
            folder=folder,
            images=images,
            images_at=f"{folder.path}/*.png and *.jpg",
            labels=labels.by_id(".png"),
            labels_at=f"{labels.path}/*.png; {found_instead(labels.path)}",
            lookup=_LOOKUP,
            read_label=_read_label,
        )


def _listed(list_file: Path, images: dict[str, Path], split: str) -> dict[str, Path]:
    """The images that a list names, whatever their ending: copies are often JPEG."""
    chosen: dict[str, Path] = {}
    for entry in read_list(list_file, rebase=("/SegNet/CamVid/",)):
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
