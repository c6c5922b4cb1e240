"""All files that a configuration names, read before a run is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from rich.console import Console

from mixseg.config import Settings
from mixseg.data.class_maps import class_map
from mixseg.data.contract import SegmentationDataset
from mixseg.data.inspection import KINDS, Kind, Problem, inspect
from mixseg.data.pairing import pair_present
from mixseg.data.splits import split_labeled
from mixseg.engine.progress import progress_bar
from mixseg.errors import ConfigError, DataError
from mixseg.methods import METHODS
from mixseg.terminal import say
from mixseg.training.data import check_data_settings, open_source, open_split, open_validation
from mixseg.training.photographs import open_photographs


@final
@dataclass(frozen=True)
class PartReport:
    """A part of a configuration's data after it was read.

    Attributes:
        name: ``training``, ``source``, ``target``, ``unlabelled`` or ``validation``.
        root: Folder of its files; empty where it could not be opened.
        images: How many images were read.
        labels: How many of them with their labels.
        problems: What is wrong, in the order of the files.
    """

    name: str
    root: str
    images: int
    labels: int
    problems: tuple[Problem, ...]


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

    Args:
        settings: Of a run.
        console: Shows progress.
        workers: Processes that read; 0 reads in this one.

    Raises:
        ConfigError: A name is unknown, or it is not said where data are.
        TrainingError: A process that reads died.
    """
    check_data_settings(settings)
    return [_read(part, console, workers) for part in _parts(settings, console)]


def _parts(settings: Settings, console: Console) -> Iterator[_Part]:
    data = settings.data

    def split(name: str) -> Callable[[], SegmentationDataset]:
        return lambda: open_split(settings, name, console, pair_present)

    def validation() -> SegmentationDataset:
        return open_validation(settings, console, pair_present)

    def training() -> SegmentationDataset:
        dataset = split(data.train_split)()
        _check_list(dataset, data.labeled, settings.split_seed)
        return dataset

    def source() -> SegmentationDataset:
        dataset = open_source(settings, console, pair_present)
        _check_list(dataset, settings.source_domain.labeled, settings.split_seed)
        file = settings.source_domain.class_map
        target = validation().classes
        given = None if file is None else Path(file).expanduser()
        return class_map(dataset.classes, target, given).apply(dataset)

    def photographs() -> SegmentationDataset:
        opened: tuple[SegmentationDataset, ...] = ()
        # What is wrong with them is said where they are read themselves.
        with contextlib.suppress(DataError, ConfigError):
            opened = (source() if settings.two_domains else training(),)
        dataset, notes = open_photographs(settings, opened, validation())
        for note in notes:
            say(console, note)
        return dataset

    if settings.two_domains:
        yield _Part("source", "source_domain", source, labeled=True)
    else:
        yield _Part("training", "data", training, labeled=True)
    if data.unlabeled is not None:
        yield _Part("unlabelled", "data.unlabeled", photographs, labeled=False)
    elif settings.two_domains and "unlabeled" in METHODS[settings.method].streams_of(settings):
        counted = settings.targets.alignment == "target"
        yield _Part("target", "data.train_split", split(data.train_split), labeled=counted)
    yield _Part("validation", "data.val_split", validation, labeled=True)


def _check_list(dataset: SegmentationDataset, labeled: str, seed: int) -> None:
    """Refuse a labelled part that the data set does not have."""
    split_labeled([sample.id for sample in dataset.samples], labeled, seed)


def _read(part: _Part, console: Console, workers: int) -> PartReport:
    try:
        dataset = part.open()
    except (DataError, ConfigError) as error:
        return PartReport(part.name, "", 0, 0, (Problem("not opened", part.setting, str(error)),))
    problems: list[Problem] = []
    count = len(dataset)
    with progress_bar(console, part.name) as advance:
        found = inspect(dataset, range(count), labeled=part.labeled, workers=workers)
        for done, of_one in enumerate(found, start=1):
            problems += of_one
            advance(done, count)
    labels = sum(sample.label is not None for sample in dataset.samples) if part.labeled else 0
    return PartReport(part.name, str(dataset.root), count, labels, tuple(problems))


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
        where = f" {report.root}" if report.root else ""
        yield f"{report.name}{where}: {report.images} images, {report.labels} labels read"
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
