"""The result of an ablation: table, files and chart."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.table import Table
from rich.text import Text

from mixseg.ablation.grid import Grid
from mixseg.ablation.runs import Job
from mixseg.escaping import chart_text, csv_cell, markdown_cell, printable
from mixseg.files import write_atomically

MISSING = "\N{EN DASH}"


@final
@dataclass(frozen=True)
class RowResult:
    """What came out of a row.

    Attributes:
        name: Of the row.
        scores: Seed -> mIoU in percent.
        published: mIoU in percent that a paper gives for it.
        error: Why a run failed; empty if none did.
    """

    name: str
    scores: Mapping[int, float]
    published: float | None
    error: str

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return statistics.mean(self.scores.values()) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for fewer than two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None


def collect(
    grid: Grid, jobs: Sequence[Job], errors: Mapping[tuple[str, int], str]
) -> tuple[RowResult, ...]:
    """Read the scores of the finished runs."""
    results = []
    for row in grid.rows:
        scores = {}
        for job in jobs:
            if job.row == row.name and job.done:
                summary = json.loads((job.folder / "summary.json").read_text(encoding="utf-8"))
                scores[job.seed] = 100 * summary["last"][grid.network]["miou"]
        error = next((text for (name, _), text in errors.items() if name == row.name), "")
        results.append(RowResult(row.name, scores, row.published, error))
    return tuple(results)


COLUMNS = ("setting", "mIoU", "seeds", "to the default", "published", "published, to the default")


def cells(grid: Grid, results: Sequence[RowResult]) -> list[tuple[str, ...]]:
    """The table as text; numbers in percent, differences in points."""
    default = next(result for result in results if result.name == grid.default)
    lines: list[tuple[str, ...]] = []
    for result in results:
        mean = MISSING
        if result.mean is not None:
            mean = f"{result.mean:.2f}"
            if result.deviation is not None:
                mean += f" ± {result.deviation:.2f}"
        if result.error:
            mean = f"{mean} failed: {result.error}" if result.scores else f"failed: {result.error}"
        lines.append(
            (
                result.name,
                mean,
                str(len(result.scores)),
                _difference(result.mean, default.mean, result is default),
                MISSING if result.published is None else f"{result.published:.2f}",
                _difference(result.published, default.published, result is default),
            )
        )
    return lines


def _difference(value: float | None, default: float | None, is_default: bool) -> str:
    if value is None or default is None or is_default:
        return MISSING
    return f"{value - default:+.2f}"


def terminal_table(grid: Grid, results: Sequence[RowResult]) -> Table:
    """The table for people who watch."""
    table = Table(
        title=Text(printable(grid.title)),
        caption=f"mIoU of the {grid.network} at the last step, in percent",
        caption_justify="left",
    )
    for index, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if index < 2 else "right")
    for line in cells(grid, results):
        table.add_row(*(Text(printable(cell)) for cell in line))
    return table


def markdown(grid: Grid, results: Sequence[RowResult]) -> str:
    """The table in Markdown."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *cells(grid, results)]
    rows = "\n".join("| " + " | ".join(map(markdown_cell, line)) + " |" for line in lines)
    what = f"mIoU of the {grid.network} at the last step, in percent"
    return f"{markdown_cell(grid.title)}: {what}.\n\n{rows}\n"


def comma_separated(results: Sequence[RowResult]) -> str:
    """One line for each run."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(("setting", "seed", "miou"))
    for result in results:
        for seed, score in result.scores.items():
            writer.writerow((csv_cell(result.name), seed, f"{score:.4f}"))
    return content.getvalue()


def to_json(grid: Grid, results: Sequence[RowResult]) -> dict[str, Any]:
    """The table as a JSON object; mIoU in percent."""
    return {
        "title": grid.title,
        "base": str(grid.base),
        "network": grid.network,
        "default": grid.default,
        "rows": [
            {
                "name": result.name,
                "scores": {str(seed): score for seed, score in result.scores.items()},
                "mean": result.mean,
                "deviation": result.deviation,
                "published": result.published,
                "error": result.error or None,
            }
            for result in results
        ],
    }


def chart(grid: Grid, results: Sequence[RowResult]) -> bytes | None:
    """Means with their deviations, and published values beside them, as a PNG; None without any."""
    from matplotlib.figure import Figure

    shown = [(result, result.mean) for result in results if result.mean is not None]
    if not shown:
        return None
    figure = Figure(figsize=(8, 1 + 0.4 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = range(len(shown))
    axes.errorbar(
        [mean for _, mean in shown],
        places,
        xerr=[result.deviation or 0.0 for result, _ in shown],
        fmt="o",
        capsize=4,
        label="measured, mean and deviation",
    )
    published = [
        (one.published, place) for place, (one, _) in enumerate(shown) if one.published is not None
    ]
    if published:
        axes.plot(*zip(*published, strict=True), "x", color="tab:red", label="published")
        axes.legend(loc="best", fontsize="small")
    axes.set_yticks(places, [chart_text(result.name) for result, _ in shown])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(f"mIoU of the {grid.network}, %")
    axes.set_title(chart_text(grid.title), fontsize="medium")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def write_report(output: Path, grid: Grid, results: Sequence[RowResult]) -> None:
    """Write ``table.md``, ``table.json``, ``runs.csv`` and ``chart.png`` into a folder."""
    write_atomically(output / "table.md", markdown(grid, results))
    write_atomically(output / "table.json", json.dumps(to_json(grid, results), indent=1))
    write_atomically(output / "runs.csv", comma_separated(results))
    picture = chart(grid, results)
    if picture is not None:
        write_atomically(output / "chart.png", picture)
