"""An ablation from its grid to its table: its runs are trained here or on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from mixseg.ablation.cluster import SlurmArray
from mixseg.ablation.dry_run import describe
from mixseg.ablation.grid import Grid
from mixseg.ablation.local import train_here
from mixseg.ablation.overrides import with_overrides
from mixseg.ablation.report import terminal_tables, write_report
from mixseg.ablation.results import collect
from mixseg.ablation.runs import Errors, check_common_flags, check_files, plan, unlike_data
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.errors import MixsegError
from mixseg.terminal import say, show


def launch(
    grid: Grid,
    folder: Path,
    common: Mapping[str, Any],
    *,
    cluster: SlurmArray | None,
    seeds: int,
    at_once: int,
    wait: bool,
    dry_run: bool,
    allow_changes: bool,
    console: Console,
) -> int:
    """Train what is not finished, and print and write the table; returns an exit code.

    Args:
        grid: The rows.
        folder: Where runs and table are written.
        common: Setting path -> value, in all rows.
        cluster: The array job; None trains in processes of this machine.
        seeds: Seeds 0 to ``seeds`` - 1 of each row.
        at_once: How many runs train here at a time.
        wait: Whether to wait for the array job.
        dry_run: Only say what would be trained.
        allow_changes: Go on although the data have changed since an earlier call.
        console: Shows progress and the table.
    """
    jobs = plan(grid, folder, range(seeds), common, allow_changes=allow_changes)
    grid = with_overrides(grid, common, seeds)
    for flag in check_common_flags(jobs, common):
        say(console, f"note: {flag} has no effect in any row")
    if not dry_run:
        check_files(jobs)
    folder.mkdir(parents=True, exist_ok=True)

    def say_line(line: str) -> None:
        say(console, line)

    errors: Errors = {}
    try:
        if cluster is not None:
            cluster.submit(jobs, say_line, dry=dry_run)
        if dry_run:
            for job in jobs:
                job.prepare()
            for line in describe(grid, jobs, common):
                say_line(line)
            return 0
        if cluster is None:
            errors = train_here(jobs, at_once, say_line)
        elif wait:
            errors = cluster.wait(jobs, say_line)
        elif not all(job.done for job in jobs):
            say_line(cluster.advice)
    except BlockingIOError as error:
        raise MixsegError(f"{folder}: another call is submitting these runs") from error
    except KeyboardInterrupt:
        say_line("stopped; the same command goes on with it" if cluster is None else cluster.advice)
        return 130
    results = collect(grid, jobs, errors)
    # Here again: the data may have changed while the rows were trained.
    grid = replace(grid, overrides=(*grid.overrides, *unlike_data(jobs)))
    files = write_report(folder, grid, results)
    for table in terminal_tables(grid, results):
        show(console, table)
    say_line(f"{folder}: {', '.join(files)}")
    if not plots_installed():
        say_line(WITHOUT_PLOTS)
    return 1 if errors else 0
