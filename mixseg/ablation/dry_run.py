"""What an ablation would do: differences of its rows, and commands of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixseg.ablation.grid import Grid, Row, row_settings
from mixseg.ablation.runs import Job
from mixseg.config import changed_settings, with_absolute_paths
from mixseg.escaping import shell_line


def describe(grid: Grid, jobs: Sequence[Job], common: Mapping[str, Any]) -> Iterator[str]:
    """Lines for each row: how it differs from the base, and the command of each of its runs.

    Args:
        grid: What is compared.
        jobs: Its runs, from :func:`mixseg.ablation.runs.plan`.
        common: Setting path -> value for every row.

    Raises:
        ConfigError: The base alone is no run.
    """
    base = with_absolute_paths(row_settings(grid, Row("", {}), common))
    yield f"base {grid.base}"
    for row in grid.rows:
        yield ""
        yield row.name + (f", against {row.against}" if row.against else "")
        if row.cited:
            values = ", ".join(f"{name} {value:g}" for name, value in row.published.items())
            yield f"  cited: {values}; not trained"
            continue
        own = [job for job in jobs if job.row == row.name]
        changes = changed_settings(base, own[0].settings, ())
        yield from (f"  {change}" for change in changes or ["no difference"])
        for job in own:
            yield f"  {'(done) ' if job.done else ''}{shell_line(job.command)}"
