"""Checks of the files of a data set: of a few before a run, or of all."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Literal, NamedTuple, final

import numpy as np

from mixseg.config.values import Size
from mixseg.data.contract import Sample, SegmentationDataset, unequal_sizes
from mixseg.data.images import UPRIGHT, ImageArray, LabelArray, image_size, orientation_in_header
from mixseg.data.loading import in_processes
from mixseg.data.masks import LabelReader
from mixseg.data.pairing import IMAGE_ENDINGS
from mixseg.errors import ConfigError, DataError, named_first
from mixseg.ignore import IGNORE

Kind = Literal[
    "missing partner",
    "unreadable",
    "undecodable",
    "size mismatch",
    "turned",
    "unknown ids",
    "all void",
    "not opened",
]

KINDS: dict[Kind, str] = {
    "missing partner": "an image that has to have a label, and has none",
    "unreadable": "the system does not give the file: it is missing, locked, or on a bad disk",
    "undecodable": "the file is damaged, too large, or of another format",
    "size mismatch": "image and label differ in size",
    "turned": "an image with a label says that it is to be turned, which labels are not",
    "unknown ids": "a label holds an id that the data set does not have",
    "all void": "a label holds nothing but ignored pixels",
    "not opened": "a folder, a list or a description is not as it has to be; its files are not "
    "read",
}
"""Kind of problem -> what it means."""


class Problem(NamedTuple):
    """A problem of a file, or of a setting (``path``) whose data could not be opened."""

    kind: Kind
    path: str
    message: str


class Inspection(NamedTuple):
    """The problems of a sample, and the raw ids of its label if one was read."""

    problems: list[Problem]
    ids: bytes | None = None


def inspect_sample(dataset: SegmentationDataset, index: int, *, labeled: bool) -> Inspection:
    """Read a sample; with ``labeled`` it has to have a label, which is read too."""
    sample = dataset.samples[index]
    problems: list[Problem] = []
    image: ImageArray | None = None
    try:
        image = dataset.image(index)
    except DataError as error:
        problems.append(reading_problem(sample.image, error))
    if not labeled:
        return Inspection(problems)
    if sample.label is None:
        looked_for = f"; looked for {dataset.looked_for}" if dataset.looked_for else ""
        message = f"{sample.image} has no label file{looked_for}"
        return Inspection([*problems, Problem("missing partner", str(sample.image), message)])
    if image is not None and dataset.in_files:
        orientation = orientation_in_header(sample.image)
        if orientation != UPRIGHT:
            message = (
                f"{sample.image}: EXIF orientation {orientation}. Training takes the pixels as "
                "they are stored, and so has the label to be: store both upright, or, if the label "
                "fits the stored pixels, remove the orientation"
            )
            problems.append(Problem("turned", str(sample.image), message))
    try:
        raw = dataset.read_raw_label(sample.label)
    except DataError as error:
        return Inspection([*problems, reading_problem(sample.label, error)])
    return Inspection([*problems, *label_problems(dataset, sample, image, raw)], raw_ids(raw))


def reading_problem(path: Path, error: DataError) -> Problem:
    """Tell a file that the system could not read from one that a decoder could not decode."""
    # Errors of the system have a number, those of decoders none.
    cause = error.__cause__
    from_system = isinstance(cause, OSError) and cause.errno is not None
    return Problem("unreadable" if from_system else "undecodable", str(path), str(error))


def label_problems(
    dataset: SegmentationDataset, sample: Sample, image: ImageArray | None, raw: LabelArray
) -> Iterator[Problem]:
    """Check the size and the raw ids of a label that was read, beside its image if it has one."""
    assert sample.label is not None
    path = str(sample.label)
    if image is not None and image.shape[:2] != raw.shape:
        yield Problem("size mismatch", path, unequal_sizes(sample, image.shape, raw.shape))
    try:
        if (dataset.train_ids(raw, sample.label) == IGNORE).all():
            yield Problem("all void", path, f"{path}: every pixel is ignored")
    except DataError as error:
        yield Problem("unknown ids", path, str(error))


def raw_ids(label: LabelArray) -> bytes:
    """The different ids of a label, in order."""
    return bytes(np.flatnonzero(np.bincount(label.reshape(-1), minlength=256)).tolist())


@final
@dataclass(frozen=True)
class PartReport:
    """A part of a run's data after it was read."""

    name: str  # such as "training", "unlabeled" or "validation"
    root: str  # folder of its files; empty where it could not be opened
    images: int  # number of images
    labels: int  # number of labels
    problems: tuple[Problem, ...]  # in the order of the files, without those of earlier parts
    repeated: int = 0  # number of images that an earlier part has, too
    unpaired: int = 0  # number of further images that were left out because they have no label
    notes: tuple[str, ...] = ()  # what is no problem, but may not be intended


@final
class Inspector:
    """Reads every file of several parts of data; what two of them share is read and said once."""

    def __init__(self, workers: int) -> None:
        """Args: workers: number of processes that read; 0 reads in this one."""
        self._workers = workers
        self._images: set[Path] = set()
        self._pairs: set[tuple[Path, Path | None]] = set()
        self._said: set[str] = set()
        self._ids: dict[Path, bytes] = {}

    def read(
        self,
        name: str,
        setting: str,
        opened: Callable[[], SegmentationDataset],
        *,
        labeled: bool,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> PartReport:
        """Read a part whose files ``opened`` lists; ``setting`` names it in messages.

        With ``labeled`` its images have to have labels, which are read, too. ``advance`` is called
        after each sample with the number of samples read and of all.

        Raises:
            TrainingError: A process that reads died.
        """
        problems: list[Problem] = []
        try:
            dataset = opened()
        except (DataError, ConfigError) as error:
            if self._is_new(str(error)):
                problems.append(Problem("not opened", setting, str(error)))
            return PartReport(name, "", 0, 0, tuple(problems))
        fresh = [
            index
            for index, sample in enumerate(dataset.samples)
            if sample.image not in self._images
            or (labeled and (sample.image, sample.label) not in self._pairs)
        ]
        read = functools.partial(inspect_sample, dataset, labeled=labeled)
        inspected = in_processes(read, fresh, self._workers, f"reading {dataset.root}")
        for done, (index, found) in enumerate(zip(fresh, inspected, strict=True), start=1):
            problems += found.problems
            label = dataset.samples[index].label
            if label is not None and found.ids is not None:
                self._ids[label] = found.ids
            advance(done, len(fresh))
        self._images.update(sample.image for sample in dataset.samples)
        labels: list[Path] = []
        if labeled:
            self._pairs.update((sample.image, sample.label) for sample in dataset.samples)
            labels = [sample.label for sample in dataset.samples if sample.label is not None]
        ids = [self._ids[label] for label in labels if label in self._ids]
        unseen = unseen_note(dataset, frozenset().union(*ids), len(ids), len(labels))
        other = dataset.passed_over if self._is_new(dataset.passed_over) else ""
        return PartReport(
            name,
            str(dataset.root),
            len(dataset),
            len(labels),
            tuple(problems),
            len(dataset) - len(fresh),
            len(dataset.unpaired),
            tuple(filter(None, (other, unseen))),
        )

    def _is_new(self, line: str) -> bool:
        new = line not in self._said
        self._said.add(line)
        return new


def spread(indices: Sequence[int], limit: int) -> list[int]:
    """Up to ``limit`` indices at equal distances, with the first and the last."""
    count = min(limit, len(indices))
    return [indices[k * (len(indices) - 1) // max(count - 1, 1)] for k in range(count)]


def check_samples(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    limit: int = 16,
    *,
    skip_bad: bool = False,
) -> dict[Path, bytes]:
    """Read a spread of samples; a few show a wrong label folder or class table.

    ``indices`` are the samples that training will use. With ``skip_bad`` unreadable ones are passed
    over, unless all are. Returns the raw ids of the labels that were read.

    Raises:
        DataError: A file is damaged, image and label differ in size, a label holds an unknown id,
            or every label that was read holds nothing but ignored pixels.
    """
    ids: dict[Path, bytes] = {}
    void: list[Path] = []
    read = 0
    bad = ""
    for index in spread(indices, limit):
        label = dataset.samples[index].label
        found = inspect_sample(dataset, index, labeled=label is not None)
        wrong = [one for one in found.problems if one.kind not in ("turned", "all void")]
        if wrong:
            bad = wrong[0].message
            if not skip_bad:
                raise DataError(bad)
            continue
        read += 1
        if label is not None and found.ids is not None:
            ids[label] = found.ids
            if any(one.kind == "all void" for one in found.problems):
                void.append(label)
    if bad and not read:
        raise DataError(bad)
    if void and len(void) == len(ids):
        known = np.flatnonzero((dataset.lookup >= 0) & (dataset.lookup != IGNORE)).tolist()
        raise DataError(
            f"all {len(void)} labels read of {dataset.name} {dataset.split!r} hold nothing but "
            f"ignored pixels: {void[0]} has the ids {[*ids[void[0]]]}, but classes have the ids "
            f"{known}. Are these the right label files?"
        )
    return ids


def ids_in_labels(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    limit: int = 64,
    known: Mapping[Path, bytes] | None = None,
) -> tuple[frozenset[int], int]:
    """The raw ids of a spread of labels, and the number of labels read for it.

    It stops when all classes were seen, and passes over samples without a label and labels that
    cannot be read. ``known`` has the raw ids of labels that were read before.
    """
    labels = [one for index in indices if (one := dataset.samples[index].label) is not None]
    found: set[int] = set()
    read = 0
    for position in spread(range(len(labels)), limit):
        label = labels[position]
        with contextlib.suppress(DataError):
            ids = (known or {}).get(label)
            found.update(raw_ids(dataset.read_raw_label(label)) if ids is None else ids)
            read += 1
        if not unseen_classes(dataset, found):
            break
    return frozenset(found), read


def unseen_classes(dataset: SegmentationDataset, ids: Collection[int]) -> list[str]:
    """The classes without any of these raw ids, except those that no id of the data set means."""
    possible = set(dataset.lookup.tolist())
    seen = {int(dataset.lookup[raw]) for raw in ids}
    names = enumerate(dataset.classes.names)
    return [
        name for train, name in names if train in possible - seen and name not in dataset.absent
    ]


def unseen_note(dataset: SegmentationDataset, ids: Collection[int], read: int, of: int) -> str:
    """A line on classes that none of the raw ids ``ids`` means; empty if there is none.

    ``read`` is the number of labels with these ids, ``of`` the number of all labels.
    """
    unseen = unseen_classes(dataset, ids)
    if not read or not unseen:
        return ""
    labels = f"none of the {read} labels" + ("" if read == of else f" looked at (of {of})")
    note = f"{dataset.name} {dataset.split!r}: {labels} has a pixel of: {named_first(unseen)}"
    black = int(dataset.lookup[0])
    if {*ids} == {0, 255} and dataset.lookup[255] == IGNORE and 0 <= black < IGNORE:
        note += ". The labels hold the ids 0 and 255 alone, and 255 is read as ignore"
        reader = dataset.read_raw_label
        described = isinstance(reader, LabelReader) and reader.description
        if described and len(dataset.classes) == 2:
            note += (
                f"; where it is {unseen[0]!r}, write into {described.name}: "
                f"id_map: {{0: {black}, 255: {1 - black}}} and ignore: []"
            )
    return note


def check_equal_sizes(
    dataset: SegmentationDataset, indices: Sequence[int], *, skip_bad: bool = False
) -> None:
    """Refuse images that differ in size by their headers, as they cannot share a batch.

    Raises:
        DataError: Two images differ, or one cannot be read and ``skip_bad`` is not set.
    """
    sizes: dict[Size, str] = {}
    for index in indices:
        try:
            sizes.setdefault(dataset.size(index), dataset.samples[index].id)
        except DataError:
            if not skip_bad:
                raise
        if len(sizes) > 1:
            pairs = sorted((name, height, width) for (height, width), name in sizes.items())
            found = " and ".join(f"{height}x{width} ({name})" for name, height, width in pairs)
            raise DataError(
                f"images differ in size, {found}, and cannot share a batch: set data.crop or "
                "data.resize"
            )


def check_same_size(
    labeled: SegmentationDataset,
    labeled_resize: Size | None,
    unlabeled: SegmentationDataset,
    unlabeled_resize: Size | None,
) -> None:
    """Raise a DataError if images of source and target differ in size, resized if they are."""
    first = labeled_resize or first_size(labeled, range(len(labeled)))
    second = unlabeled_resize or first_size(unlabeled, range(len(unlabeled)))
    if first != second:
        raise DataError(
            f"images of {labeled.name} have {first[0]}x{first[1]} pixels, those of "
            f"{unlabeled.name} {second[0]}x{second[1]}, and they cannot be mixed: set data.crop"
        )


def first_size(dataset: SegmentationDataset, indices: Sequence[int]) -> Size:
    """Height and width of the first image with a readable header; the first's error if none has."""
    first: DataError | None = None
    for index in indices:
        try:
            return dataset.size(index)
        except DataError as error:
            first = first or error
    raise first or DataError(f"{dataset.name} {dataset.split!r}: there is no image")


def median_side(
    dataset: SegmentationDataset, indices: Sequence[int], limit: int = 20
) -> int | None:
    """The median of the shorter sides of a spread of images, in pixels, by their headers.

    None where no header can be read.
    """
    sides = []
    for index in spread(indices, limit):
        with contextlib.suppress(DataError):
            sides.append(min(dataset.size(index)))
    return median_low(sides) if sides else None


def size_in_header(label: Path) -> Size | None:
    """Height and width of a label file; None for class files of SBD, which have no such header."""
    return image_size(label) if label.suffix.lower() in IMAGE_ENDINGS else None


def without_unequal_pairs(
    dataset: SegmentationDataset, *, skip_bad: bool = False
) -> tuple[SegmentationDataset, tuple[str, ...]]:
    """The data set without pairs whose image and label differ in size, and a line for each of them.

    GTA5 as published holds some, which would end a run in the middle. Headers alone are read; with
    ``skip_bad`` pairs without a readable header stay, as a stream replaces them later.

    Raises:
        DataError: A file cannot be opened, or no pair is left.
    """
    kept, left_out = [], []
    for index, sample in enumerate(dataset.samples):
        try:
            image = dataset.size(index)
            label = (size_in_header(sample.label) if sample.label else None) or image
        except DataError:
            if not skip_bad:
                raise
            label = image = (0, 0)
        if image == label:
            kept.append(sample)
        else:
            sizes = " and ".join(f"{width}x{height}" for height, width in (image, label))
            left_out.append(f"{sample.id}: {sizes} pixels")
    if not kept:
        raise DataError(
            f"{dataset.name} {dataset.split!r}: in every pair image and label differ in size, "
            f"the first is {left_out[0]}"
        )
    return dataclasses.replace(dataset, samples=tuple(kept)), tuple(left_out)
