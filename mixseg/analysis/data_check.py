"""All files that a configuration names, read before a run is."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from rich.console import Console

from mixseg.data.check import unseen_note
from mixseg.data.inspection import KINDS, Kind, Problem, inspect
from mixseg.data.pairing import passed_over
from mixseg.engine.progress import progress_bar
from mixseg.errors import ConfigError, DataError
from mixseg.training.data_parts import Part


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
@dataclass
class _Known:
    """What earlier parts have read or said.

    Attributes:
        images: Image files.
        pairs: Image and label files.
        said: Why parts could not be opened, and which files were passed over.
        ids: Label file -> the raw ids that it holds.
    """

    images: set[Path] = field(default_factory=set)
    pairs: set[tuple[Path, Path | None]] = field(default_factory=set)
    said: set[str] = field(default_factory=set)
    ids: dict[Path, bytes] = field(default_factory=dict)


def inspect_data(parts: Iterable[Part], console: Console, workers: int) -> list[PartReport]:
    """Read every file of the parts; a file that two parts have is read once.

    Args:
        parts: Of a configuration's data.
        console: Shows progress.
        workers: Processes that read; 0 reads in this one.

    Raises:
        TrainingError: A process that reads died.
    """
    known = _Known()
    return [_read(part, console, workers, known) for part in parts]


def _read(part: Part, console: Console, workers: int, known: _Known) -> PartReport:
    problems: list[Problem] = []
    try:
        dataset = part.dataset()
    except (DataError, ConfigError) as error:
        if str(error) not in known.said:
            problems.append(Problem("not opened", part.setting, str(error)))
            known.said.add(str(error))
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
        for done, (index, one) in enumerate(zip(fresh, found, strict=True), start=1):
            problems += one.problems
            label = dataset.samples[index].label
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
    if other not in known.said:
        notes.insert(0, other)
        known.said.add(other)
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


def counts(reports: Sequence[PartReport]) -> dict[Kind, int]:
    """Number of problems of each kind, those that do not occur among them."""
    found = Counter(problem.kind for report in reports for problem in report.problems)
    return {kind: found[kind] for kind in KINDS}


def report_lines(reports: Sequence[PartReport], shown: int) -> Iterator[str]:
    """The parts, then each kind of problem with its first files.

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


def to_json(reports: Sequence[PartReport], settings: Mapping[str, object]) -> str:
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
