"""Pascal VOC 2012 with the extra annotations of SBD: 20 objects and background.

Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2015. SBD: Hariharan et al.,
"Semantic Contours from Inverse Detectors", ICCV 2011. 1464 images in train, 1449 in val, 10582 in
train_aug, which is everything that VOC or SBD annotate except the images of val.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

import numpy as np

from mixseg.data.contract import ClassSet, train_id_lookup
from mixseg.data.images import MAX_PIXELS, LabelArray
from mixseg.data.layout import Files, Layout
from mixseg.data.lists import read_list
from mixseg.data.masks import LabelReader, class_colors
from mixseg.data.pairing import IMAGE_ENDINGS, Folder, found_instead, without_ending
from mixseg.errors import DataError
from mixseg.files import opened
from mixseg.ignore import IGNORE
from mixseg.registry import LAYOUTS

VOC = ClassSet.of(
    {
        "background": (0, 0, 0),
        "aeroplane": (128, 0, 0),
        "bicycle": (0, 128, 0),
        "bird": (128, 128, 0),
        "boat": (0, 0, 128),
        "bottle": (128, 0, 128),
        "bus": (0, 128, 128),
        "car": (128, 128, 128),
        "cat": (64, 0, 0),
        "chair": (192, 0, 0),
        "cow": (64, 128, 0),
        "dining table": (192, 128, 0),
        "dog": (64, 0, 128),
        "horse": (192, 0, 128),
        "motorbike": (64, 128, 128),
        "person": (192, 128, 128),
        "potted plant": (0, 64, 0),
        "sheep": (128, 64, 0),
        "sofa": (0, 192, 0),
        "train": (128, 192, 0),
        "tv monitor": (0, 64, 128),
    }
)

_LOOKUP = train_id_lookup(VOC)
_read_png = LabelReader(
    VOC, _LOOKUP, (*class_colors(VOC), (IGNORE, (224, 224, 192))), "the colors of VOC"
)

_SBD_FOLDERS = ("benchmark_RELEASE/dataset/cls", "sbd/dataset/cls", "sbd/cls", "SBD/cls")
_AUGMENTED_LISTS = ("train_aug.txt", "trainaug.txt")
# Lists made for DeepLab hold lines like "/JPEGImages/ID.jpg /SegmentationClassAug/ID.png".
_LIST_PREFIXES = ("/JPEGImages/", "/SegmentationClassAug/", "/SegmentationClass/")


@final
@LAYOUTS.register("voc")
class PascalVOC(Layout):
    """``train``, ``val`` and ``trainval`` are the lists in ``ImageSets/Segmentation``.

    Labels lie in ``SegmentationClass``. ``train_aug`` takes its labels from the third-party folder
    ``SegmentationClassAug``, or from the official ``.mat`` files of SBD; VOC's own label comes
    before that of SBD. Its images are those of ``ImageSets/Segmentation/train_aug.txt``, and
    without that file all that are annotated except those of val.

    The root is ``VOC2012``, ``VOCdevkit``, or the folder that holds ``VOCdevkit``; SBD may lie in
    it or next to it as ``benchmark_RELEASE`` or ``sbd``.
    """

    title = "VOC"
    classes: ClassVar[ClassSet] = VOC
    split_names = ("train", "val", "trainval", "train_aug")
    lists = tuple(
        f"{folder}ImageSets/Segmentation/*.txt" for folder in ("", "VOC2012/", "VOCdevkit/VOC2012/")
    )

    def files(self, root: Path, split: str) -> Files:
        """List a split."""
        voc = _voc_folder(root)
        lists = voc / "ImageSets" / "Segmentation"
        labels = Folder(voc / "SegmentationClass").by_id(".png")
        labels_at = f"{voc}/SegmentationClass/*.png"
        if split == "train_aug":
            extra, source = _augmented_labels(root, voc)
            labels_at = f"{source} and {labels_at}"
            # The augmented folder has VOC's labels, too; SBD has its own, coarser version of them.
            labels = labels | extra if source.name == "SegmentationClassAug" else extra | labels
            own_list = next((lists / n for n in _AUGMENTED_LISTS if (lists / n).is_file()), None)
            if own_list is not None:
                ids = _read_ids(own_list)
            else:
                val = set(_read_ids(lists / "val.txt"))
                ids = sorted({*extra, *_read_ids(lists / "train.txt")} - val)
        else:
            ids = _read_ids(lists / f"{split}.txt")
        folder = Folder(voc / "JPEGImages")
        return Files(
            folder=folder,
            images=_images(folder, ids, split),
            images_at=f"{folder.path}/*.jpg",
            labels=labels,
            labels_at=labels_at,
            lookup=_LOOKUP,
            read_label=_read_label,
        )


def _voc_folder(root: Path) -> Path:
    for candidate in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (candidate / "JPEGImages").is_dir():
            return candidate
    raise DataError(
        f"no VOC 2012 below {root}: looked for JPEGImages/ in it, in VOC2012/ and in "
        f"VOCdevkit/VOC2012/, but {found_instead(root)}"
    )


def _augmented_labels(root: Path, voc: Path) -> tuple[dict[str, Path], Path]:
    """Id -> label file of the augmented set, and the folder they come from."""
    folder = voc / "SegmentationClassAug"
    labels = Folder(folder).by_id(".png")
    if labels:
        return labels, folder
    for base in dict.fromkeys((root, voc, voc.parent, voc.parent.parent)):
        for name in _SBD_FOLDERS:
            labels = Folder(base / name).by_id(".mat")
            if labels:
                return labels, base / name
    raise DataError(
        f"VOC split 'train_aug' needs {folder}/*.png, or the SBD files *.mat below or next to "
        f"{root} in one of {', '.join(_SBD_FOLDERS)}; found neither. The split 'train' needs "
        "no further files"
    )


def _read_ids(list_file: Path) -> list[str]:
    entries = read_list(list_file, rebase=_LIST_PREFIXES)
    if not entries:
        raise DataError(f"{list_file} names no image")
    return [without_ending(entry.image).removeprefix("JPEGImages/") for entry in entries]


def _images(folder: Folder, ids: Sequence[str], split: str) -> dict[str, Path]:
    found = folder.by_id(*IMAGE_ENDINGS)
    endings: dict[str, list[Path]] = {}
    for key, path in found.items():
        endings.setdefault(without_ending(key), []).append(path)
    for key in ids:
        if key not in found and key in endings:
            first, second = sorted(endings[key])[:2]
            raise DataError(
                f"image {key} of VOC split {split!r} could be {first} or {second}; move the one "
                f"that is not meant out of {folder.path}"
            )
    missing = [key for key in ids if key not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} images of VOC split {split!r} are missing, the first "
            f"is {folder.path / missing[0]}.jpg; {found_instead(folder.path)}"
        )
    return {key: found[key] for key in ids}


def _read_label(path: Path) -> LabelArray:
    return _read_sbd(path) if path.suffix.lower() == ".mat" else _read_png(path)


def _read_sbd(path: Path) -> LabelArray:
    """The class map of an SBD file, which lies in its field ``GTcls.Segmentation``."""
    from scipy.io import loadmat  # takes a moment to import, and few runs need it
    from scipy.io.matlab import MatReadError

    try:
        with opened(path) as file:
            content = loadmat(file, variable_names=["GTcls"])
        ids = np.asarray(content["GTcls"]["Segmentation"][0, 0])
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (
        OSError,
        MatReadError,
        LookupError,
        ValueError,
        TypeError,
        NotImplementedError,
        struct.error,
        zlib.error,
    ) as error:
        raise DataError(
            f"{path}: is not an SBD file with GTcls.Segmentation: {type(error).__name__} {error}"
        ) from error
    if ids.ndim != 2 or ids.dtype != np.uint8 or ids.size > MAX_PIXELS:
        raise DataError(
            f"{path}: GTcls.Segmentation should be a 2-D uint8 map of at most {MAX_PIXELS} "
            f"pixels, found {ids.dtype} of shape {ids.shape}"
        )
    return ids
