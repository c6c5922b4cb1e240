"""What an ablation would do: differences of its rows, and commands of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixseg.ablation.grid import Grid, Row, row_settings
from mixseg.ablation.runs import Job
from mixseg.config.saved import changed_settings, with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.terminal import shell_line


def describe(grid: Grid, jobs: Sequence[Job], common: Mapping[str, Any]) -> Iterator[str]:
    """Lines for each row: its changes of the base, and the command of each of its runs.

    A row that is compared with another one also has its changes of that one. ``common`` are the
    settings of every row.
    """

    def changes(old: Mapping[str, Any], new: Mapping[str, Any], row: Row) -> list[str]:
        # Options of a part that is not in the base.
        own = [f"{key}: {new[key]}" for key in row.changes if key in new and key not in old]
        return [*changed_settings(old, new, ()), *own]

    base = to_flat(with_absolute_paths(row_settings(grid, Row("", {}), common)))
    settings = {job.row: to_flat(job.settings) for job in jobs}
    yield f"base {grid.base}"
    yield from grid.notes
    for row in grid.rows:
        yield ""
        yield row.name + (f", against {row.against}" if row.against else "")
        if row.cited:
            values = ", ".join(f"{name} {value:g}" for name, value in row.published.items())
            yield f"  cited: {values}; not trained"
            continue
        own = settings[row.name]
        yield from (f"  {change}" for change in changes(base, own, row) or ["as the base"])
        if row.against in settings and settings[row.against] != base:
            for change in changes(settings[row.against], own, row):
                yield f"  against {row.against}: {change}"
        for job in jobs:
            if job.row == row.name:
                yield f"  {'(done) ' if job.done else ''}{shell_line(job.command)}"
