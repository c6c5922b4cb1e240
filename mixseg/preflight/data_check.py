"""All files that a configuration names, read before a run is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from mixseg.config.sections import Settings
from mixseg.data.check import KINDS, Inspector, Kind, PartReport
from mixseg.data.class_maps import class_map
from mixseg.data.contract import SegmentationDataset
from mixseg.data.pairing import pair_present
from mixseg.data.splits import split_labeled
from mixseg.errors import ConfigError, DataError
from mixseg.terminal import progress_bar
from mixseg.training.data import (
    check_data_settings,
    open_photographs_of,
    open_source,
    open_split,
    open_validation,
    streams_of,
)

LOG = logging.getLogger("mixseg")


class _Part(NamedTuple):
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
    inspector = Inspector(workers)
    reports = []
    for part in _parts(settings):
        with progress_bar(console, part.name) as advance:
            reports.append(
                inspector.read(
                    part.name, part.setting, part.open, labeled=part.labeled, advance=advance
                )
            )
    return reports


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
        dataset, notes = open_photographs_of(settings, opened, _opened(validation))
        for note in notes:
            LOG.info(note)
        return dataclasses.replace(dataset, passed_over="")  # is among the notes

    if settings.two_domains:
        yield _Part("source", "source_domain", source, labeled=True)
    else:
        yield _Part("training", "data", training, labeled=True)
    if data.unlabeled is not None:
        yield _Part("unlabeled", "data.unlabeled", photographs, labeled=False)
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
