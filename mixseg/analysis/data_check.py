"""Checks of all files that a configuration names, before a run."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console

from mixseg.data.check import KINDS, Inspector, Kind, PartReport
from mixseg.terminal import progress_bar
from mixseg.training.data import Part


def inspect_data(parts: Iterable[Part], console: Console, workers: int) -> list[PartReport]:
    """Read every file of the parts of a configuration's data; a file in two parts is read once.

    Args:
        parts: What to read.
        console: Shows progress.
        workers: Processes that read; 0 reads in this one.

    Raises:
        TrainingError: A process that reads died.
    """
    inspector = Inspector(workers)
    reports = []
    for part in parts:
        with progress_bar(console, part.name) as advance:
            reports.append(
                inspector.read(
                    part.name, part.setting, part.dataset, labeled=part.labeled, advance=advance
                )
            )
    return reports


def counts(reports: Sequence[PartReport]) -> dict[Kind, int]:
    """Number of problems of each kind, those that do not occur among them."""
    found = Counter(problem.kind for report in reports for problem in report.problems)
    return {kind: found[kind] for kind in KINDS}


def report_lines(reports: Sequence[PartReport], shown: int) -> Iterator[str]:
    """The parts, then each kind of problem with its first ``shown`` files."""
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
    """All reports and the settings of the data, as a JSON object."""
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
