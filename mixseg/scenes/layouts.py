"""Writes one demo scene as a file pair of a real data set, so that its loader can be run.

Scenes come with Cityscapes' raw ids. Each layout turns them into the ids and the encoding of its
own files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import (
    CITYSCAPES,
    CITYSCAPES_TO_CAMVID,
    CITYSCAPES_TO_VOC,
    RAW_TO_TRAIN,
)
from mixseg.data.contract import ClassSet
from mixseg.data.images import ImageArray, LabelArray, pack_png
from mixseg.data.layout import IGNORED
from mixseg.data.synthia import ABSENT, LABEL_IDS
from mixseg.data.voc import VOC
from mixseg.ignore import IGNORE

CITIES: Final = {
    "train": ("aldenau", "birkstadt", "corvingen", "dunmere", "elsbruck"),
    "val": ("falkenrode", "grimholt", "havelsee"),
}

Write = Callable[[Path, str, int, ImageArray, LabelArray], None]
"""Called with root, split, number of the scene in it, RGB image and raw Cityscapes ids."""


class Layout(NamedTuple):
    """A layout of files: its splits, and what writes a scene."""

    splits: tuple[str, ...]
    write: Write


def _write_cityscapes(
    root: Path, split: str, number: int, image: ImageArray, ids: LabelArray
) -> None:
    cities = CITIES[split]
    city = cities[number % len(cities)]
    stem = f"{city}_{number // len(cities):06d}_{19:06d}"
    _save(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", image)
    _save(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", ids)


def _write_gta5(root: Path, split: str, number: int, image: ImageArray, ids: LabelArray) -> None:
    name = f"{number + 1:05d}.png"
    _save(root / "images" / name, image)
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[list(CITYSCAPES.label_ids)] = CITYSCAPES.palette
    _save(root / "labels" / name, ids, palette)


def _write_synthia(root: Path, split: str, number: int, image: ImageArray, ids: LabelArray) -> None:
    name = f"{number:07d}.png"
    _save(root / "RGB" / name, image)
    pairs = zip(CITYSCAPES.names, LABEL_IDS, strict=True)
    raw = [0 if title in ABSENT else own for title, own in pairs]
    label = np.zeros((*ids.shape, 3), dtype=np.uint16)
    label[:, :, 0] = _from_train_ids(ids, raw, void=0)
    _save(root / "GT" / "LABELS" / name, label)


def _write_voc(root: Path, split: str, number: int, image: ImageArray, ids: LabelArray) -> None:
    name = f"{2007 if split == 'train' else 2008}_{number + 1:06d}"
    _save(root / "JPEGImages" / f"{name}.jpg", image)
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(VOC)] = VOC.palette
    palette[IGNORE] = (224, 224, 192)
    label = _from_train_ids(ids, _places(CITYSCAPES_TO_VOC, VOC), void=IGNORE)
    _save(root / "SegmentationClass" / f"{name}.png", label, palette)
    names = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    names.parent.mkdir(parents=True, exist_ok=True)
    with names.open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")


def _write_camvid(root: Path, split: str, number: int, image: ImageArray, ids: LabelArray) -> None:
    name = f"0001TP_{30 * number:06d}.png"
    _save(root / split / name, image)
    void = len(CAMVID)
    places = [void if place == IGNORE else place for place in _places(CITYSCAPES_TO_CAMVID, CAMVID)]
    _save(root / f"{split}annot" / name, _from_train_ids(ids, places, void))


def _write_bdd100k(root: Path, split: str, number: int, image: ImageArray, ids: LabelArray) -> None:
    name = f"{number:08x}-{'0000' if split == 'train' else '0001'}0000"
    _save(root / "images" / "10k" / split / f"{name}.jpg", image)
    label = RAW_TO_TRAIN[ids].astype(np.uint8)
    _save(root / "labels" / "sem_seg" / "masks" / split / f"{name}.png", label)


LAYOUTS: Final[dict[str, Layout]] = {
    "cityscapes": Layout(("train", "val"), _write_cityscapes),
    "gta5": Layout(("train",), _write_gta5),
    "synthia": Layout(("train",), _write_synthia),
    "voc": Layout(("train", "val"), _write_voc),
    "camvid": Layout(("train", "val"), _write_camvid),
    "bdd100k": Layout(("train", "val"), _write_bdd100k),
}
"""Name -> layout."""


def _places(classes: dict[str, str], target: ClassSet) -> list[int]:
    """Train id in the target, or ``IGNORE``, of each Cityscapes class."""
    names = [classes[name] for name in CITYSCAPES.names]
    return [IGNORE if name == IGNORED else target.names.index(name) for name in names]


def _from_train_ids(ids: LabelArray, raw: list[int], void: int) -> LabelArray:
    """Raw Cityscapes ids -> the id in ``raw`` of their class, or void."""
    table = np.full(256, void, dtype=np.uint8)
    table[: len(raw)] = raw
    result: LabelArray = table[RAW_TO_TRAIN[ids]]
    return result


def _save(path: Path, pixels: NDArray[Any], palette: NDArray[np.uint8] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.dtype == np.uint16:
        path.write_bytes(pack_png(pixels, compression=3))
        return
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.tobytes())
    if path.suffix == ".jpg":
        image.save(path, quality=95, subsampling=0)
    else:
        image.save(path, compress_level=3)
