"""Small data sets in the real layouts, written as the official archives unpack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.contract import SegmentationDataset
from mixseg.data.layout import open_dataset
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
        image.putpalette([channel for color in palette for channel in color])
    image.save(path)


def cycle_ids(ids: Sequence[int], offset: int = 0, size: tuple[int, int] = SIZE) -> NDArray:
    """A label map in which all the ids occur, one after the other."""
    count = size[0] * size[1]
    return np.resize(np.roll(np.array(ids, dtype=np.uint8), -offset), count).reshape(size)


def write_instances(root: Path, split: str = "train") -> None:
    """Instances beside the labels of Cityscapes: in each column of a thing, one for each row."""
    for path in (root / "gtFine" / split).rglob("*_gtFine_labelIds.png"):
        raw = np.asarray(Image.open(path)).astype(np.uint16)
        rows = np.arange(len(raw), dtype=np.uint16)[:, None]
        instances = np.where((raw >= 24) & (raw <= 33), 1000 * raw + rows, raw)
        name = path.name.replace("labelIds", "instanceIds")
        Image.fromarray(instances.astype(np.uint16)).save(path.with_name(name))


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


def write_voc(voc: Path, augmented: bool = False, augmented_list: str | None = None) -> None:
    """``VOC2012`` with 2 train and 2 val images, and 3 more that only SBD annotates."""
    ids = [*range(len(VOC)), 255]
    # As in the official files the palette's last entry is the boundary's color.
    palette = [*VOC.palette, *[(0, 0, 0)] * (255 - len(VOC)), (224, 224, 192)]
    for seed, name in enumerate((*VOC_TRAIN, *VOC_VAL, *SBD_EXTRA)):
        write_image(voc / "JPEGImages" / f"{name}.jpg", seed)
        if name not in SBD_EXTRA:
            write_label(voc / "SegmentationClass" / f"{name}.png", cycle_ids(ids, seed), palette)
        if augmented:
            write_label(voc / "SegmentationClassAug" / f"{name}.png", cycle_ids(ids, seed))
    lists = {"train": VOC_TRAIN, "val": VOC_VAL, "trainval": sorted((*VOC_TRAIN, *VOC_VAL))}
    texts = {split: "".join(f"{name}\n" for name in names) for split, names in lists.items()}
    if augmented_list is not None:
        texts["train_aug"] = augmented_list
    for split, text in texts.items():
        path = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


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
    ids = [f"0001TP_{6690 + 30 * frame:06d}" for frame in range(count)]
    for frame, name in enumerate(ids):
        write_image(root / split / f"{name}{ending}", seed=frame)
        label = cycle_ids(range(len(CAMVID) + 1), frame)
        write_label(root / f"{split}annot" / f"{name}.png", label)
    return ids


def write_camvid_list(root: Path, split: str, ids: Sequence[str]) -> None:
    """The list of a split with the paths of the SegNet tutorial."""
    lines = (
        f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n"
        for name in ids
    )
    (root / f"{split}.txt").write_text("".join(lines))


def write_bdd100k(
    root: Path, split: str = "train", count: int = 4, older: bool = False, labels: bool = True
) -> list[str]:
    """Frames of a split in the current release or the older one; returns their sorted ids."""
    images, masks, ending = "images/10k", "labels/sem_seg/masks", ".png"
    if older:
        images, masks, ending = "seg/images", "seg/labels", "_train_id.png"
    ids = [f"{0x0A0A0B1A + frame:08x}-7c39d841" for frame in range(count)]
    for frame, name in enumerate(ids):
        write_image(root / images / split / f"{name}.jpg", seed=frame)
        if labels:
            label = cycle_ids([*range(19), 255], frame)
            write_label(root / masks / split / f"{name}{ending}", label)
    return ids


def write_gta5(root: Path, count: int = 4) -> list[str]:
    """Frames with palette labels; returns their sorted ids."""
    ids = [f"{frame + 1:05d}" for frame in range(count)]
    palette = [(7 * raw % 256, raw, 255 - raw) for raw in range(256)]
    for frame, name in enumerate(ids):
        write_image(root / "images" / f"{name}.png", seed=frame)
        write_label(root / "labels" / f"{name}.png", cycle_ids(range(35), frame), palette)
    return ids


def write_synthia(root: Path, count: int = 4, mapped: bool = False) -> list[str]:
    """Frames with 16-bit labels, class in red and instance in green; returns their sorted ids."""
    ids = [f"{frame:07d}" for frame in range(count)]
    for frame, name in enumerate(ids):
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
    ids = [f"day {frame % 2}/frame.{frame}" for frame in range(count)]
    for frame, name in enumerate(ids):
        ending = ".JPG" if frame % 2 else ".png"
        write_image(root / "images" / split / f"{name}{ending}", seed=frame)
        if labels:
            write_label(root / "labels" / split / f"{name}.png", cycle_ids([0, 7, 11, 255], frame))
    return sorted(ids)


# Whole data sets --------------------------------------------------------------------------------


def _splits(write: Callable[..., object], **options: Any) -> Callable[[Path], object]:
    return lambda root: [write(root, split, **options) for split in ("train", "val")]


def _cityscapes(root: Path) -> None:
    _splits(write_cityscapes)(root)
    write_cityscapes(root, "test", label_kind=None)


def _camvid(root: Path) -> None:
    for split, ending in (("train", ".png"), ("val", ".jpg"), ("test", ".png")):
        ids = write_camvid(root / "CamVid", split, ending=ending)
        write_camvid_list(root / "CamVid", split, ids[1:])


def _bdd100k(root: Path) -> None:
    _splits(write_bdd100k)(root / "bdd100k")
    write_bdd100k(root / "bdd100k", "test", labels=False)


def _voc_sbd(root: Path) -> None:
    write_voc(root / "VOCdevkit" / "VOC2012")
    write_sbd(root / "benchmark_RELEASE" / "dataset" / "cls")


def _voc_augmented(root: Path) -> None:
    write_voc(root / "VOC2012", augmented=True, augmented_list="2008_000007\n2007_000032\n")


def _folder(root: Path) -> None:
    _splits(write_folder)(root)
    write_folder(root, "extra", labels=False)


class Example(NamedTuple):
    """A data set with several splits."""

    write: Callable[[Path], object]
    name: str
    training: str = "train"
    validation: str | None = "val"

    def opened(self, root: Path) -> SegmentationDataset:
        """Its training split, written into a folder."""
        self.write(root)
        return open_dataset(self.name, root, self.training)


EXAMPLES = {
    "bdd100k": Example(_bdd100k, "bdd100k"),
    "bdd100k older": Example(_splits(write_bdd100k, older=True), "bdd100k"),
    "camvid": Example(_camvid, "camvid"),
    "cityscapes": Example(_cityscapes, "cityscapes"),
    "cityscapes archives": Example(
        _splits(write_cityscapes, archive_folders=True, label_kind="labelTrainIds"), "cityscapes"
    ),
    "folder": Example(_folder, "folder"),
    "gta5": Example(write_gta5, "gta5", validation=None),
    "synthia": Example(
        lambda root: write_synthia(root / "RAND_CITYSCAPES"), "synthia", validation=None
    ),
    "synthia mapped": Example(
        lambda root: write_synthia(root, mapped=True), "synthia", validation=None
    ),
    "voc": Example(lambda root: write_voc(root / "VOCdevkit" / "VOC2012"), "voc"),
    "voc augmented": Example(_voc_augmented, "voc", "train_aug"),
    "voc sbd": Example(_voc_sbd, "voc", "train_aug"),
}
"""Every layout in every form of its archives."""
