"""The runs of an ablation: independent processes; finished ones are kept."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from mixseg.ablation.grid import Grid, row_settings
from mixseg.config.effect import check_flags, command_of
from mixseg.config.saved import dump_settings, with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError
from mixseg.files import read_text, write_atomically

Errors = dict[tuple[str, int], str]
"""(row, seed) -> why that run failed; runs that went well are not in it."""

ERROR_LENGTH = 300
"""Longest error in characters that a table shows."""

OWN = ("name", "output", "seed", "data.workers", "imports")
"""Settings in which the runs of a row may differ."""


@final
@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        row: Name of its row.
        seed: Its seed.
        folder: Folder of the run.
        settings: Settings of the row.
        allow_changes: Whether it continues although its data have changed.
    """

    row: str
    seed: int
    folder: Path
    settings: Settings
    allow_changes: bool = False

    @property
    def done(self) -> bool:
        """Whether it has been trained to its end."""
        return (self.folder / "summary.json").is_file()

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.row}, seed {self.seed}"

    @property
    def preset(self) -> Path:
        """The file of settings that it is started with."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        """The file that has what it printed."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def command(self) -> list[str]:
        """Trains it from its start or from its last checkpoint; needs :meth:`prepare`."""
        own = ["--output", str(self.folder.parent), "--name", self.folder.name]
        return [
            *(sys.executable, "-m", "mixseg", command_of(self.settings.method)),
            *("--config", str(self.preset), *own, "--seed", str(self.seed), "--resume", "auto"),
            *(["--allow-changes"] if self.allow_changes else []),
        ]

    def prepare(self) -> None:
        """Write the file of settings."""
        self.preset.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.preset, dump_settings(self.settings))

    def last_line(self) -> str | None:
        """The last line of the log; None if it has none."""
        lines = read_text(self.log, errors="replace").splitlines() if self.log.is_file() else []
        told = [line for line in lines if line.strip()]
        return told[-1][:ERROR_LENGTH] if told else None


def plan(
    grid: Grid,
    output: Path,
    seeds: Sequence[int],
    common: Mapping[str, Any],
    *,
    allow_changes: bool = False,
) -> tuple[Job, ...]:
    """The runs of a grid; :func:`mixseg.ablation.checks.check_runs` says whether they can work.

    Args:
        grid: The grid.
        output: Folder of the ablation; it may hold runs of an earlier call.
        seeds: One run of each row for each.
        common: Setting path -> value for every row.
        allow_changes: Continue although the data have changed since runs of an earlier call.

    Raises:
        ConfigError: The settings of a row contradict each other, or flags make two rows equal.
    """
    rows = []
    for row in grid.rows:
        if not row.cited:
            try:
                rows.append((row, with_absolute_paths(row_settings(grid, row, common))))
            except ConfigError as error:
                raise ConfigError(f"row {row.name!r}: {error}") from error
    # Seed by seed, so that an interrupted ablation has whole tables of fewer seeds.
    jobs = tuple(
        Job(row.name, seed, output / f"{row.folder}-seed{seed}", settings, allow_changes)
        for seed in seeds
        for row, settings in rows
    )
    if common:
        _refuse_twins(grid, jobs, common)
    return jobs


def _refuse_twins(grid: Grid, jobs: Sequence[Job], common: Mapping[str, Any]) -> None:
    """Refuse flags that make two rows equal: one would run under a wrong name."""
    settings = {job.row: job.settings for job in jobs}
    trained = [row for row in grid.rows if row.name in settings]
    for one, other in itertools.combinations(trained, 2):
        if settings[one.name] != settings[other.name]:
            continue
        with contextlib.suppress(ConfigError):  # a grid may need flags, such as --teacher
            if row_settings(grid, one) == row_settings(grid, other):
                continue
        raise ConfigError(
            f"rows {one.name!r} and {other.name!r} are the same with "
            f"{', '.join(f'--{key}' for key in common)}; leave out what they differ in"
        )


def check_common_flags(jobs: Sequence[Job], flags: Iterable[str]) -> list[str]:
    """Refuse flags that every row refuses; rows may differ in the parts that they have.

    Returns:
        Flags that baselines take and that have no effect in any row.
    """
    rows = {job.row: job.settings for job in jobs}
    without_effect = []
    for flag in flags:
        idle, errors = [], []
        for settings in rows.values():
            try:
                idle += check_flags([flag], to_flat(settings))
            except ConfigError as error:
                errors.append(error)
        if len(errors) == len(rows):
            raise ConfigError(f"{errors[-1]}; no row has it")
        if len(idle) + len(errors) == len(rows):
            without_effect.append(idle[0])
    return without_effect
