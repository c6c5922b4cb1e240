"""What came out of the runs of an ablation, and how rows compare."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from mixseg.ablation.grid import Grid
from mixseg.ablation.metrics import METRICS, covered
from mixseg.ablation.runs import Job
from mixseg.errors import DataError
from mixseg.evaluation.scores import Scores
from mixseg.files import read_json


@final
@dataclass(frozen=True)
class Measured:
    """One metric of a row.

    Attributes:
        scores: Seed -> value in percent.
        published: Value in percent that a paper gives for it.
        covered: Such as ``17 of 19 classes``, where a mean is over fewer than all.
    """

    scores: Mapping[int, float] = field(default_factory=dict)
    published: float | None = None
    covered: str = ""

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return statistics.mean(self.scores.values()) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for fewer than two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None


@final
@dataclass(frozen=True)
class RowResult:
    """What came out of a row.

    Attributes:
        name: Of the row.
        metrics: Name -> its values; all metrics of the grid.
        error: Why a run failed; empty if none did.
        against: Name of the row that it is compared with.
        cited: Whether it is shown as published and not trained.
        classes: Class -> IoU in percent, mean over the seeds in which it has one.
        precisions: Those that its runs were trained in, whatever ``auto`` has become.
    """

    name: str
    metrics: Mapping[str, Measured]
    error: str = ""
    against: str | None = None
    cited: bool = False
    classes: Mapping[str, float] = field(default_factory=dict)
    precisions: tuple[str, ...] = ()


def collect(
    grid: Grid, jobs: Sequence[Job], errors: Mapping[tuple[str, int], str]
) -> tuple[RowResult, ...]:
    """Read the scores of the finished runs."""
    results = []
    for row in grid.rows:
        scores: dict[int, Scores] = {}
        precisions = set()
        for job in jobs:
            if job.row == row.name and job.done:
                path = job.folder / "summary.json"
                try:
                    summary = read_json(path)
                    last = summary["last"]
                    # The average of a student is no teacher in every method.
                    averaged = last.get("teacher", last.get("average"))
                    found = last["student"] if grid.network == "student" else averaged
                    scores[job.seed] = Scores.from_json(found)
                    precisions.add(str(summary["precision"]))
                except (OSError, ValueError, KeyError, TypeError) as damage:
                    raise DataError(
                        f"{path}: damaged: {damage}. Delete this file: the same command then goes "
                        "on with the run from its last checkpoint, and writes it anew"
                    ) from damage
        metrics = {name: _measured(name, scores, row.published.get(name)) for name in grid.metrics}
        error = next((text for (name, _), text in errors.items() if name == row.name), "")
        classes = _class_means(list(scores.values()))
        trained_in = tuple(sorted(precisions))
        results.append(
            RowResult(row.name, metrics, error, row.against, row.cited, classes, trained_in)
        )
    return tuple(results)


def _measured(metric: str, scores: Mapping[int, Scores], published: float | None) -> Measured:
    values = {seed: METRICS[metric](one) for seed, one in scores.items()}
    found = {seed: 100 * value for seed, value in values.items() if value is not None}
    return Measured(found, published, covered(metric, list(scores.values())))


def _class_means(scores: Sequence[Scores]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in scores:
        for name, iou in zip(one.classes, one.iou, strict=True):
            if iou is not None:
                values.setdefault(name, []).append(100 * iou)
    return {name: statistics.mean(found) for name, found in values.items()}


def difference(
    results: Sequence[RowResult], result: RowResult, metric: str
) -> tuple[float | None, float | None]:
    """A row minus the row that it is compared with, in points: means, and published values."""

    def minus(value: float | None, base: float | None) -> float | None:
        return None if value is None or base is None else value - base

    own = result.metrics[metric]
    base = next((one.metrics[metric] for one in results if one.name == result.against), Measured())
    return minus(own.mean, base.mean), minus(own.published, base.published)
