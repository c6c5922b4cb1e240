"""The tables of an ablation, as text and as files, and its chart."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from mixseg.ablation.grid import Grid
from mixseg.ablation.results import Measured, RowResult, difference
from mixseg.charts import plots_installed
from mixseg.evaluation.protocols import SHORT_NAMES
from mixseg.files import write_atomically
from mixseg.tables import csv_lines, markdown_table
from mixseg.terminal import chart_text, csv_cell, markdown_cell, printable

MISSING = "\N{EN DASH}"
CITED = "cited"
"""Stands for the measurement of a row that is not trained."""

CHART = "chart.png"
"""What :func:`write_report` draws once there is a mean to show, if matplotlib is installed."""


def columns(grid: Grid, metric: str) -> tuple[str, ...]:
    """Headings of the table of a metric."""
    head = ("setting", metric, "seeds")
    if grid.several_comparisons:
        return (*head, "against", "delta", "published", "published delta")
    return (*head, "to the default", "published", "published, to the default")


def cells(grid: Grid, results: Sequence[RowResult], metric: str) -> list[tuple[str, ...]]:
    """The table of a metric as text; numbers in percent, differences in points."""
    lines: list[tuple[str, ...]] = []
    for result in results:
        value = result.metrics[metric]
        mean = CITED if result.cited else MISSING
        if value.mean is not None:
            mean = f"{value.mean:.2f}"
            if value.deviation is not None:
                mean += f" ± {value.deviation:.2f}"
            if value.covered:
                mean += f" ({value.covered})"
        if result.error:
            failed = f"failed: {result.error}"
            mean = f"{mean} {failed}" if value.scores else failed
        measured, published = difference(results, result, metric)
        seeds = MISSING if result.cited else str(len(value.scores))
        against = [result.against or MISSING] if grid.several_comparisons else []
        numbers = (_signed(measured), _percent(value.published), _signed(published))
        lines.append((result.name, mean, seeds, *against, *numbers))
    return lines


def _signed(points: float | None) -> str:
    # Adding 0.0 makes zero of minus zero.
    return MISSING if points is None else f"{round(points, 2) + 0.0:+.2f}"


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _conditions(grid: Grid, metric: str) -> str:
    return f"{metric} of the {grid.network} at the last step, in percent"


def precision_note(results: Sequence[RowResult]) -> str:
    """The precision that runs were trained in, with the rows of each if they differ."""
    rows: dict[str, list[str]] = {}
    for result in results:
        if result.precisions:
            rows.setdefault(" and ".join(result.precisions), []).append(result.name)
    if len(rows) < 2:
        return "".join(f"trained in {name}" for name in rows)
    found = "; ".join(f"{name}: {', '.join(names)}" for name, names in rows.items())
    return f"note: rows were trained in different precisions ({found})"


def terminal_tables(grid: Grid, results: Sequence[RowResult]) -> list[Table]:
    """The tables for the terminal, one for each metric."""
    tables = []
    note = precision_note(results)
    title = Text(printable(grid.title))
    title.append("".join(f"\n{printable(note)}" for note in grid.notes), style="not italic")
    for metric in grid.metrics:
        table = Table(
            title=title,
            title_justify="left" if grid.notes else "center",
            caption=Text(printable("; ".join(filter(None, (_conditions(grid, metric), note))))),
            caption_justify="left",
        )
        for name in columns(grid, metric):
            text = name in ("setting", "against", metric)
            table.add_column(name, justify="left" if text else "right", overflow="fold")
        for line in cells(grid, results, metric):
            table.add_row(*line)
        tables.append(table)
    return tables


def markdown(grid: Grid, results: Sequence[RowResult]) -> str:
    """The tables in Markdown, one for each metric."""
    note = precision_note(results)
    return "\n".join(
        _markdown_heading(grid, _conditions(grid, metric))
        + markdown_table([columns(grid, metric), *cells(grid, results, metric)])
        + (f"\n{markdown_cell(note)}.\n" if note else "")
        for metric in grid.metrics
    )


def markdown_of_classes(grid: Grid, results: Sequence[RowResult]) -> str:
    """IoU of every class in Markdown, as the papers print it; mean over seeds, in percent."""
    measured = [result for result in results if result.classes]
    names = list(dict.fromkeys(name for result in measured for name in result.classes))
    lines = [("setting", *(SHORT_NAMES.get(name, name) for name in names), *grid.metrics)]
    for result in measured:
        values = [result.classes.get(name) for name in names]
        values += [result.metrics[metric].mean for metric in grid.metrics]
        lines.append((result.name, *map(_percent, values)))
    what = f"IoU of each class, {grid.network}, last step, mean over seeds, in percent"
    return _markdown_heading(grid, what) + markdown_table(lines)


def _markdown_heading(grid: Grid, what: str) -> str:
    """Title, what the table shows, and notes, each a paragraph."""
    title = f"{markdown_cell(grid.title)}: {what}."
    return "".join(f"{line}\n\n" for line in (title, *map(markdown_cell, grid.notes)))


def csv_of_runs(grid: Grid, results: Sequence[RowResult]) -> str:
    """One line for each run."""
    lines: list[Sequence[object]] = [("setting", "seed", *grid.metrics, "overrides")]
    for result in results:
        for seed in sorted({s for value in result.metrics.values() for s in value.scores}):
            scores = [_exact(result.metrics[name].scores.get(seed)) for name in grid.metrics]
            overrides = csv_cell("; ".join(grid.overrides))
            lines.append((csv_cell(result.name), seed, *scores, overrides))
    return csv_lines(lines)


def csv_of_table(grid: Grid, results: Sequence[RowResult]) -> str:
    """One line for each row of the table and metric; each has the overrides."""
    numbers = ("mean", "deviation", "difference", "published", "published_difference")
    head = ("setting", "against", "metric", "seeds", *numbers, "note", "overrides", "left out")
    lines: list[Sequence[object]] = [[one.replace("_", " ") for one in head]]
    conditions = [csv_cell("; ".join(grid.overrides)), csv_cell(grid.left_out)]
    for row in to_json(grid, results)["rows"]:
        for metric, value in row["metrics"].items():
            note = CITED if row["cited"] else row["error"] or value["covered"] or ""
            texts = (csv_cell(row["name"]), csv_cell(row["against"] or ""), metric)
            found = (len(value["scores"]), *(_exact(value[key]) for key in numbers))
            lines.append((*texts, *found, csv_cell(note), *conditions))
    return csv_lines(lines)


def to_json(grid: Grid, results: Sequence[RowResult]) -> dict[str, Any]:
    """The tables as a JSON object; values in percent, differences in points."""
    rows = []
    for result in results:
        metrics = {}
        for name, value in result.metrics.items():
            measured, published = difference(results, result, name)
            metrics[name] = {
                "scores": {str(seed): score for seed, score in value.scores.items()},
                "mean": value.mean,
                "covered": value.covered or None,
                "deviation": value.deviation,
                "difference": measured,
                "published": value.published,
                "published_difference": published,
            }
        rows.append(
            {
                "name": result.name,
                "against": result.against,
                "cited": result.cited,
                "metrics": metrics,
                "classes": dict(result.classes),
                "error": result.error or None,
                "precisions": list(result.precisions),
            }
        )
    return {
        "title": grid.title,
        "overrides": list(grid.overrides),
        "left_out": grid.left_out or None,
        "base": str(grid.base),
        "network": grid.network,
        "default": grid.default,
        "rows": rows,
    }


def chart(grid: Grid, results: Sequence[RowResult]) -> bytes | None:
    """Means with their deviations, and published values beside them, as a PNG with a panel for each
    metric; None without any mean."""
    from matplotlib.figure import Figure

    values = [value for result in results for value in result.metrics.values()]
    if all(value.mean is None for value in values):
        return None
    shown = [
        result
        for result in results
        if any(v.mean is not None or v.published is not None for v in result.metrics.values())
    ]
    count = len(grid.metrics)
    width = 4 + 4 * count
    # About 12 characters of this size to an inch.
    notes = [line for note in grid.notes for line in textwrap.wrap(chart_text(note), 12 * width)]
    height = 1.4 + 0.3 * len(shown) + 0.2 * len(notes)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    handles: dict[str, Any] = {}
    for panel, metric in zip(panels, grid.metrics, strict=True):
        _draw(panel, [result.metrics[metric] for result in shown], [row.cited for row in shown])
        panel.set_xlabel(f"{metric} of the {grid.network}, %")
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    panels[0].set_yticks(range(len(shown)), [chart_text(result.name) for result in shown])
    panels[0].set_ylim(len(shown) - 0.5, -0.5)
    # Below the panels: within one it would hide values of a long table.
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle("\n".join([chart_text(grid.title), *notes]), fontsize="medium")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def _draw(panel: Any, values: Sequence[Measured], cited: Sequence[bool]) -> None:
    means = [
        (v.mean, place, v.deviation or 0.0) for place, v in enumerate(values) if v.mean is not None
    ]
    if means:
        x, y, deviations = zip(*means, strict=True)
        label = "measured, mean and deviation"
        panel.errorbar(x, y, xerr=deviations, fmt="o", capsize=4, label=label)
    for kind, marker, color, label in (
        (False, "x", "tab:red", "published"),
        (True, "d", "tab:gray", "published, cited"),
    ):
        points = [
            (value.published, place)
            for place, (value, row) in enumerate(zip(values, cited, strict=True))
            if value.published is not None and row == kind
        ]
        if points:
            panel.plot(*zip(*points, strict=True), marker, color=color, label=label)
    panel.grid(axis="x", alpha=0.3)


def write_report(output: Path, grid: Grid, results: Sequence[RowResult]) -> list[str]:
    """Write the tables into a folder, and :data:`CHART` where it can be drawn.

    Returns:
        The names of the files.
    """
    files = {
        "table.md": markdown(grid, results),
        "table.csv": csv_of_table(grid, results),
        "table.json": json.dumps(to_json(grid, results), indent=1),
        "classes.md": markdown_of_classes(grid, results),
        "runs.csv": csv_of_runs(grid, results),
    }
    for name, content in files.items():
        write_atomically(output / name, content)
    # Of an earlier report; and last, so that what is wrong with matplotlib costs no table.
    (output / CHART).unlink(missing_ok=True)
    picture = chart(grid, results) if plots_installed() else None
    if picture is None:
        return list(files)
    write_atomically(output / CHART, picture)
    return [*files, CHART]
