"""What a copy of a data set is to hold: all its splits, listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from mixseg.data.arrays import ImageArray, Size
from mixseg.data.contract import Sample, SegmentationDataset
from mixseg.data.images import read_image
from mixseg.data.layout import layout_of, open_dataset
from mixseg.data.pairing import IMAGE_ENDINGS, pair_present
from mixseg.data.photographs import read_photograph
from mixseg.data.prepared_copy.manifest import (
    Origin,
)
from mixseg.data.transforms import Interpolation
from mixseg.data.unlabeled import ANY_CLASS, open_unlabeled
from mixseg.errors import DataError


@final
@dataclass(frozen=True)
class Original:
    """An image of a data set with all labels that its splits give it.

    Attributes:
        image: The image file.
        labels: Label file -> the split that says how it is read.
        targets: Path in the copy, with forward slashes -> file that it is made from: the image,
            then its labels.
        size: Height and width that all are brought to; None keeps them as they are.
        read_image: Gives the pixels that are brought to it.
    """

    image: Path
    labels: Mapping[Path, SegmentationDataset]
    targets: Mapping[str, Path]
    size: Size | None
    read_image: Callable[[Path], ImageArray] = read_image


@final
@dataclass(frozen=True)
class Plan:
    """What a copy is to hold.

    Attributes:
        origin: Where it comes from.
        base: Folder that paths are relative to.
        originals: Images and labels.
        lists: Text files, copied as they are: path in the copy -> file.
        notes: What people should know, one line each.
    """

    origin: Origin
    base: Path
    originals: tuple[Original, ...]
    lists: Mapping[str, Path]
    notes: tuple[str, ...]


def plan_splits(
    name: str,
    root: Path,
    *,
    size: Size,
    training: str,
    validation: str | None,
    keep_labeled: bool,
    compression: int = 0,
    interpolation: Interpolation = "bilinear",
) -> Plan:
    """All splits of a data set, listed; nothing is read yet.

    Args:
        name: Layout.
        root: Of the data set.
        size: Height and width of the copy.
        training: The training split.
        validation: The validation split; None if it is of another data set.
        keep_labeled: Whether labelled images outside of the training split keep their size, and
            those of the validation split in any case.
        compression: Of PNG images, 0 to 9.
        interpolation: How images are resized.

    Raises:
        DataError: The training or the validation split cannot be opened, or nothing of the data
            set would change its size.
    """
    opened: dict[str, SegmentationDataset] = {}
    notes: list[str] = []
    layout = layout_of(name)
    names = layout.splits(root)
    for split in dict.fromkeys((training, *([validation] if validation else []), *names)):
        try:
            opened[split] = open_dataset(name, root, split, pair_present)
        except DataError as error:
            if split in (training, validation):
                raise
            notes.append(f"split {split!r} is left out: {error}")
    base = root if root.is_dir() else root.parent
    for pattern in layout.further_images:
        if (base / pattern).is_dir():
            opened[pattern] = open_unlabeled(base / pattern, opened[training].classes)
    members: dict[Path, set[str]] = {}
    labels: dict[Path, dict[Path, SegmentationDataset]] = {}
    targets: dict[Path, dict[str, Path]] = {}
    for split, dataset in opened.items():
        for sample in dataset.samples:
            image = sample.image
            members.setdefault(image, set()).add(split)
            targets.setdefault(image, {_relative(image, base): image})
            of_image = labels.setdefault(image, {})
            if sample.label is not None:
                of_image[sample.label] = dataset
                targets[image][_label_target(dataset, sample, base)] = sample.label

    def keeps_its_size(image: Path) -> bool:
        validated = validation in members[image] or training not in members[image]
        return keep_labeled and validated and bool(labels[image])

    originals = tuple(
        Original(
            image,
            labels[image],
            targets[image],
            None if keeps_its_size(image) else size,
            read_photograph if members[image] <= {*layout.further_images} else read_image,
        )
        for image in sorted(members)
    )
    kept = sum(one.size is None for one in originals)
    if kept == len(originals):
        raise DataError(
            f"{root}: every image of split {training!r} is validated too and would keep its size; "
            "take --set validation.resolution=input, which compares labels at data.resize"
        )
    if kept:
        notes.append(
            f"{kept} labelled images outside of {training!r} keep their size: labels are compared "
            "at the size of their files (validation.resolution: native)"
        )
    own = (root.name,) if root != base else ()
    return Plan(
        Origin(name, str(root.resolve()), size, compression, interpolation),
        base,
        originals,
        _lists(base, (*own, *layout.lists)),
        tuple(notes),
    )


def plan_unlabeled(source: Path, *, size: Size, compression: int = 0) -> Plan:
    """Images without labels, of a folder or a list file.

    Args:
        source: As :func:`mixseg.data.unlabeled.open_unlabeled` takes it.
        size: Height and width of the copy.
        compression: Of PNG images, 0 to 9.

    Raises:
        DataError: The source names no image.
    """
    dataset = open_unlabeled(source, ANY_CLASS)
    base = dataset.root
    images = [sample.image for sample in dataset.samples]
    return Plan(
        Origin("unlabeled", str(source.resolve()), size, compression),
        base,
        tuple(
            Original(image, {}, {_relative(image, base): image}, size, read_photograph)
            for image in images
        ),
        _lists(base, (source.name,) if source != base else ()),
        (),
    )


def _lists(base: Path, patterns: Sequence[str]) -> dict[str, Path]:
    found = sorted({path for pattern in patterns for path in base.glob(pattern) if path.is_file()})
    return {_relative(path, base): path for path in found}


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def _label_target(dataset: SegmentationDataset, sample: Sample, base: Path) -> str:
    assert sample.label is not None
    if sample.label.suffix.lower() in IMAGE_ENDINGS:
        return _relative(sample.label, base)
    # Class files of SBD may lie beside the data set. Its loader takes PNGs in this folder instead.
    folder = dataset.root.parent / "SegmentationClassAug"
    return _relative(folder / f"{sample.id}.png", base)
