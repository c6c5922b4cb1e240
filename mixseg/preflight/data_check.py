"""All files that a configuration names, read before a run is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from rich.console import Console

from mixseg.config import Settings
from mixseg.data.check import unseen_note
from mixseg.data.class_maps import class_map
from mixseg.data.contract import SegmentationDataset
from mixseg.data.inspection import KINDS, Kind, Problem, inspect
from mixseg.data.pairing import pair_present, passed_over
from mixseg.data.splits import split_labeled
from mixseg.errors import ConfigError, DataError
from mixseg.terminal import progress_bar
from mixseg.training.data import (
    check_data_settings,
    open_source,
    open_split,
    open_validation,
    streams_of,
)
from mixseg.training.photographs import open_photographs

LOG = logging.getLogger("mixseg")


@final
@dataclass(frozen=True)
class PartReport:
    """A part of a configuration's data after it was read.

    Attributes:
        name: ``training``, ``source``, ``target``, ``unlabelled`` or ``validation``.
        root: Folder of its files; empty where it could not be opened.
        images: How many images it has.
        labels: How many of them with their labels.
        problems: What is wrong, in the order of the files; what a part before it said is left out.
        repeated: How many of the images a part before it has as well, which read them.
        unpaired: How many further images were left out because they have no label.
        notes: What is right and may not be meant.
    """

    name: str
    root: str
    images: int
    labels: int
    problems: tuple[Problem, ...]
    repeated: int = 0
    unpaired: int = 0
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class _Part:
    """What is to be read.

    Attributes:
        name: As in :class:`PartReport`.
        setting: Where it is named, for what cannot be opened.
        open: Lists its files.
        labeled: Whether its images have to have labels, and these are read.
    """

    name: str
    setting: str
    open: Callable[[], SegmentationDataset]
    labeled: bool


def inspect_data(settings: Settings, console: Console, workers: int) -> list[PartReport]:
    """Read every file of a configuration's data.

    Of one domain all labels of the training split are read, whichever of them a run takes; of a
    target only the images, since its labels are not used (but for ``targets.alignment: target``).
    A file that two parts have is read once.

    Args:
        settings: Of a run.
        console: Shows progress.
        workers: Processes that read; 0 reads in this one.

    Raises:
        ConfigError: A name is unknown, or it is not said where data are.
        TrainingError: A process that reads died.
    """
    check_data_settings(settings)
    known = _Known(set(), set(), set(), {})
    return [_read(part, console, workers, known) for part in _parts(settings)]


def _parts(settings: Settings) -> Iterator[_Part]:
    data = settings.data
    # By default an image without a label is a problem, and each of them is named.
    pair = None if settings.skips_unpaired else pair_present

    def training() -> SegmentationDataset:
        dataset = open_split(settings, data.train_split, pair)
        held_out = [one.id for one in validation().samples] if data.val is not None else []
        ids = [sample.id for sample in dataset.samples]
        split_labeled(ids, data.labeled, settings.split_seed, held_out)  # refuses what is not there
        return dataset

    def target() -> SegmentationDataset:
        return open_split(settings, data.train_split, pair_present)

    def validation() -> SegmentationDataset:
        return open_validation(settings, pair)

    def source() -> SegmentationDataset:
        dataset = open_source(settings, pair)
        ids = [sample.id for sample in dataset.samples]
        split_labeled(ids, settings.source_domain.labeled, settings.split_seed)
        file = settings.source_domain.class_map
        given = None if file is None else Path(file).expanduser()
        classes = (_opened(validation) or target()).classes
        return class_map(dataset.classes, classes, given).apply(dataset)

    def photographs() -> SegmentationDataset:
        # What is wrong with the others is said where they are read themselves.
        labeled = _opened(source if settings.two_domains else training)
        opened = () if labeled is None else (labeled,)
        dataset, notes = open_photographs(settings, opened, _opened(validation))
        for note in notes:
            LOG.info(note)
        return dataset

    if settings.two_domains:
        yield _Part("source", "source_domain", source, labeled=True)
    else:
        yield _Part("training", "data", training, labeled=True)
    if data.unlabeled is not None:
        yield _Part("unlabelled", "data.unlabeled", photographs, labeled=False)
    elif settings.two_domains and "unlabeled" in streams_of(settings):
        counted = settings.targets.alignment == "target"
        yield _Part("target", "data.train_split", target, labeled=counted)
    setting = "data.val_split" if data.val is None else "data.val"
    yield _Part("validation", setting, validation, labeled=True)


def _opened(part: Callable[[], SegmentationDataset]) -> SegmentationDataset | None:
    """The data set; None if it cannot be opened."""
    with contextlib.suppress(DataError, ConfigError):
        return part()
    return None


class _Known(NamedTuple):
    """What earlier parts have read or said.

    Attributes:
        images: Image files.
        pairs: Image and label files.
        errors: Why parts could not be opened, and which files were passed over.
        ids: Label file -> the raw ids that it holds.
    """

    images: set[Path]
    pairs: set[tuple[Path, Path | None]]
    errors: set[str]
    ids: dict[Path, bytes]


def _read(part: _Part, console: Console, workers: int, known: _Known) -> PartReport:
    problems: list[Problem] = []
    try:
        dataset = part.open()
    except (DataError, ConfigError) as error:
        if str(error) not in known.errors:
            problems.append(Problem("not opened", part.setting, str(error)))
            known.errors.add(str(error))
        return PartReport(part.name, "", 0, 0, tuple(problems))
    fresh = [
        index
        for index, sample in enumerate(dataset.samples)
        if (
            (sample.image, sample.label) not in known.pairs
            if part.labeled
            else sample.image not in known.images
        )
    ]
    with progress_bar(console, part.name) as advance:
        found = inspect(dataset, fresh, labeled=part.labeled, workers=workers)
        for done, one in enumerate(found, start=1):
            problems += one.problems
            label = dataset.samples[fresh[done - 1]].label
            if label is not None and one.ids is not None:
                known.ids[label] = one.ids
            advance(done, len(fresh))
    known.images.update(sample.image for sample in dataset.samples)
    labels: list[Path] = []
    if part.labeled:
        known.pairs.update((sample.image, sample.label) for sample in dataset.samples)
        labels = [sample.label for sample in dataset.samples if sample.label is not None]
    read = [known.ids[label] for label in labels if label in known.ids]
    notes = [unseen_note(dataset, frozenset().union(*read), len(read), len(labels))]
    # Of photographs it is said where they are listed, and parts may share a folder.
    other = "" if part.name == "unlabelled" else passed_over(dataset.root)
    if other not in known.errors:
        notes.insert(0, other)
        known.errors.add(other)
    return PartReport(
        part.name,
        str(dataset.root),
        len(dataset),
        len(labels),
        tuple(problems),
        len(dataset) - len(fresh),
        len(dataset.unpaired),
        tuple(filter(None, notes)),
    )


def counts(reports: list[PartReport]) -> dict[Kind, int]:
    """Number of problems of each kind, those that do not occur among them."""
    found = Counter(problem.kind for report in reports for problem in report.problems)
    return {kind: found[kind] for kind in KINDS}


def report_lines(reports: list[PartReport], shown: int) -> Iterator[str]:
    """What people read: the parts, then each kind of problem with its first files.

    Args:
        reports: Of all parts.
        shown: How many files of each kind are named.
    """
    for report in reports:
        if not report.root:
            yield f"{report.name}: not opened"
            continue
        line = f"{report.name} {report.root}: {report.images} images, {report.labels} labels read"
        if report.repeated:
            line += f"; {report.repeated} of the images are those of a part above"
        if report.unpaired:
            line += f"; {report.unpaired} further images have no label and are left out"
        yield line
        yield from (f"note: {note}" for note in report.notes)
    for kind, number in counts(reports).items():
        if not number:
            continue
        yield f"{kind}: {number} ({KINDS[kind]})"
        named = [one.message for report in reports for one in report.problems if one.kind == kind]
        yield from (f"  {message}" for message in named[:shown])
        if number > shown:
            yield f"  and {number - shown} more"
    if not any(counts(reports).values()):
        yield "no problem found"


def to_json(reports: list[PartReport], settings: Mapping[str, object]) -> str:
    """Everything, as a JSON object.

    Args:
        reports: Of all parts.
        settings: What the data are, as the configuration says it.
    """
    content = {
        "data": settings,
        "counts": counts(reports),
        "parts": [
            dataclasses.asdict(report)
            | {"problems": [problem._asdict() for problem in report.problems]}
            for report in reports
        ],
    }
    return json.dumps(content, indent=1) + "\n"
