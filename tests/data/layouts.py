"""Small data sets in the real layouts, written as the official archives unpack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.voc import VOC
from tests.data.png_encoder import encode

SIZE = (12, 20)
"""Height and width of all images."""


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_turned(path: Path, upright: NDArray[np.uint8], orientation: int) -> None:
    """An image as a camera stores it that was held in another way: turned, and saying so."""
    stored = {  # the inverse of the turn that the tag asks for
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)


def write_label(
    path: Path,
    ids: NDArray[np.uint8],
    palette: Sequence[tuple[int, int, int]] | None = None,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    if palette is not None:
        image.putpalette([channel for colour in palette for channel in colour])
    image.save(path)


def cycle_ids(ids: Sequence[int], offset: int = 0, size: tuple[int, int] = SIZE) -> NDArray:
    """A label map in which all the ids occur, one after the other."""
    count = size[0] * size[1]
    return np.resize(np.roll(np.array(ids, dtype=np.uint8), -offset), count).reshape(size)


def write_cityscapes(
    root: Path,
    split: str = "train",
    cities: dict[str, int] | None = None,
    archive_folders: bool = False,
    label_kind: str | None = "labelIds",
) -> list[str]:
    """Frames of a split, by default 3 of aachen and 2 of zurich; returns their sorted ids."""
    images, labels = root / "leftImg8bit", root / "gtFine"
    if archive_folders:
        images = root / "leftImg8bit_trainvaltest" / "leftImg8bit"
        labels = root / "gtFine_trainvaltest" / "gtFine"
    raw = [*range(34)] if label_kind == "labelIds" else [*range(len(CITYSCAPES)), 255]
    ids = []
    for city, count in (cities or {"zurich": 2, "aachen": 3}).items():
        for frame in range(count):
            stem = f"{city}_{frame:06d}_000019"
            write_image(images / split / city / f"{stem}_leftImg8bit.png", seed=frame)
            if label_kind is not None:
                label = labels / split / city / f"{stem}_gtFine_{label_kind}.png"
                write_label(label, cycle_ids(raw, frame))
            ids.append(f"{city}/{stem}_leftImg8bit")
    return sorted(ids)


VOC_TRAIN = ("2007_000032", "2007_000039")
VOC_VAL = ("2007_000033", "2007_000042")
SBD_EXTRA = ("2008_000002", "2008_000003", "2008_000007")


def write_voc(
    voc: Path,
    augmented: bool = False,
    augmented_list: str | None = None,
) -> None:
    """``VOC2012`` with 2 train and 2 val images, and 3 more that only SBD annotates."""
    for seed, name in enumerate((*VOC_TRAIN, *VOC_VAL, *SBD_EXTRA)):
        write_image(voc / "JPEGImages" / f"{name}.jpg", seed)
    ids = [*range(len(VOC)), 255]
    # As in the official files the palette's last entry is the boundary's colour.
    palette = [*VOC.palette, *[(0, 0, 0)] * (255 - len(VOC)), (224, 224, 192)]
    for seed, name in enumerate((*VOC_TRAIN, *VOC_VAL)):
        write_label(voc / "SegmentationClass" / f"{name}.png", cycle_ids(ids, seed), palette)
    if augmented:
        for seed, name in enumerate((*VOC_TRAIN, *VOC_VAL, *SBD_EXTRA)):
            write_label(voc / "SegmentationClassAug" / f"{name}.png", cycle_ids(ids, seed))
    lists = voc / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    for split, names in (
        ("train", VOC_TRAIN),
        ("val", VOC_VAL),
        ("trainval", sorted((*VOC_TRAIN, *VOC_VAL))),
    ):
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    if augmented_list is not None:
        (lists / "train_aug.txt").write_text(augmented_list)


def write_sbd(folder: Path) -> None:
    """SBD class files: the extra images, one that VOC has in train, and one of its val."""
    folder.mkdir(parents=True)
    for seed, name in enumerate((*SBD_EXTRA, VOC_TRAIN[0], VOC_VAL[0])):
        segmentation = cycle_ids(range(len(VOC)), seed)
        content = {"Boundaries": np.zeros((1, 1)), "Segmentation": segmentation}
        savemat(folder / f"{name}.mat", {"GTcls": content})


def write_camvid(
    root: Path, split: str = "train", count: int = 4, ending: str = ".png"
) -> list[str]:
    """Frames of a split in the SegNet form; returns their sorted ids."""
    ids = []
    for frame in range(count):
        name = f"0001TP_{6690 + 30 * frame:06d}"
        write_image(root / split / f"{name}{ending}", seed=frame)
        label = cycle_ids(range(len(CAMVID) + 1), frame)
        write_label(root / f"{split}annot" / f"{name}.png", label)
        ids.append(name)
    return ids


def write_bdd100k(
    root: Path, split: str = "train", count: int = 4, older: bool = False, labels: bool = True
) -> list[str]:
    """Frames of a split in the current release or the older one; returns their sorted ids."""
    images, masks, ending = "images/10k", "labels/sem_seg/masks", ".png"
    if older:
        images, masks, ending = "seg/images", "seg/labels", "_train_id.png"
    ids = []
    for frame in range(count):
        name = f"{0x0A0A0B1A + frame:08x}-7c39d841"
        write_image(root / images / split / f"{name}.jpg", seed=frame)
        if labels:
            label = cycle_ids([*range(19), 255], frame)
            write_label(root / masks / split / f"{name}{ending}", label)
        ids.append(name)
    return ids


def write_gta5(root: Path, count: int = 4) -> list[str]:
    """Frames with palette labels; returns their sorted ids."""
    ids = []
    palette = [(7 * raw % 256, raw, 255 - raw) for raw in range(256)]
    for frame in range(count):
        name = f"{frame + 1:05d}"
        write_image(root / "images" / f"{name}.png", seed=frame)
        write_label(root / "labels" / f"{name}.png", cycle_ids(range(35), frame), palette)
        ids.append(name)
    return ids


def write_synthia(root: Path, count: int = 4, mapped: bool = False) -> list[str]:
    """Frames with 16-bit labels, class in red and instance in green; returns their sorted ids."""
    ids = []
    for frame in range(count):
        name = f"{frame:07d}"
        write_image(root / "RGB" / f"{name}.png", seed=frame)
        if mapped:
            path = root / "synthia_mapped_to_cityscapes" / f"{name}.png"
            write_label(path, cycle_ids(range(34), frame))
        else:
            label = np.zeros((*SIZE, 3), dtype=np.uint16)
            label[:, :, 0] = cycle_ids(range(23), frame)
            label[:, :, 1] = np.arange(SIZE[1]) + 300
            path = root / "GT" / "LABELS" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(label))
        ids.append(name)
    return ids


FOLDER_DESCRIPTION = "names: [background, road, building]\nid_map: {0: 0, 7: 1, 11: 2}\n"


def write_folder(
    root: Path,
    split: str = "train",
    count: int = 4,
    labels: bool = True,
    description: str = FOLDER_DESCRIPTION,
) -> list[str]:
    """A folder data set with sub-folders; returns the sorted ids of the split."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.yaml").write_text(description)
    ids = []
    for frame in range(count):
        name = f"day {frame % 2}/frame.{frame}"
        ending = ".JPG" if frame % 2 else ".png"
        write_image(root / "images" / split / f"{name}{ending}", seed=frame)
        if labels:
            write_label(root / "labels" / split / f"{name}.png", cycle_ids([0, 7, 11, 255], frame))
        ids.append(name)
    return sorted(ids)
