"""The runs of an ablation: independent processes; finished ones are kept."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from mixseg.ablation.grid import Grid, Row, row_settings
from mixseg.config.checks import WITHOUT_FILE
from mixseg.config.effect import check_flags, command_of
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import PATHS, changed_settings, dump_settings, with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.data.record import Record, differences, digests, read_record
from mixseg.errors import ConfigError
from mixseg.files import read_text, write_atomically
from mixseg.training.saved_network import settings_of_run

ERROR_LENGTH = 300
"""Characters of an error that a table shows."""

OWN = ("name", "output", "seed", "data.workers")
"""Settings in which runs of one row may differ."""


VALIDATION = ("data.dataset", "data.root", "data.val", "data.split_seed", "demo.")
"""Prefixes of the settings that say what runs are scored on."""


@final
@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        row: Name of its row.
        seed: Its seed.
        folder: Where it goes.
        settings: Those of the row.
        allow_changes: Whether it goes on although its data have changed.
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
        """What people call it."""
        return f"{self.row}, seed {self.seed}"

    @property
    def preset(self) -> Path:
        """The file that it is started with."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def command(self) -> list[str]:
        """What trains it, from its start or from its last checkpoint; needs :meth:`prepare`."""
        own = ["--output", str(self.folder.parent), "--name", self.folder.name]
        return [
            *(sys.executable, "-m", "mixseg", command_of(self.settings.method)),
            *("--config", str(self.preset), *own, "--seed", str(self.seed), "--resume", "auto"),
            *(["--allow-changes"] if self.allow_changes else []),
        ]

    def prepare(self) -> None:
        """Write the file that it is started with."""
        self.preset.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.preset, dump_settings(self.settings))

    def last_line(self, after: str = "") -> str | None:
        """The end of what it printed; None without any.

        Args:
            after: Only what follows the last line that begins so.
        """
        if not self.log.is_file():
            return None
        lines = read_text(self.log, errors="replace").splitlines()
        marks = [index for index, line in enumerate(lines) if after and line.startswith(after)]
        told = [line for line in lines[marks[-1] + 1 if marks else 0 :] if line.strip()]
        return told[-1][:ERROR_LENGTH] if told and (marks or not after) else None


def plan(
    grid: Grid,
    output: Path,
    seeds: Sequence[int],
    common: Mapping[str, Any],
    *,
    allow_changes: bool = False,
) -> tuple[Job, ...]:
    """The runs of a grid, checked before the first one starts.

    Args:
        grid: What is compared.
        output: Folder of the ablation; it may hold runs of an earlier call.
        seeds: One run of each row for each.
        common: Setting path -> value for every row.
        allow_changes: Go on although the data have changed since runs of an earlier call.

    Raises:
        ConfigError: The settings of a row cannot work, or the folder holds a run that was made
            with other ones, or runs on data that had changed in between.
    """
    jobs, trained = [], []
    for row in grid.rows:
        if row.cited:
            continue
        try:
            settings = with_absolute_paths(row_settings(grid, row, common))
        except ConfigError as error:
            raise ConfigError(f"row {row.name!r}: {error}") from error
        trained.append((row, settings))
        jobs += [
            Job(row.name, seed, output / f"{row.folder}-seed{seed}", settings, allow_changes)
            for seed in seeds
        ]
    if common:
        _refuse_twins(grid, trained, common)
    for job in jobs:
        refuse_changes(job, job.folder / "config.yaml", "was made")
    if not allow_changes and (found := unlike_data(jobs)):
        raise ConfigError(
            f"{'; '.join(found)}. Their scores are those of different images or classes: give "
            "another --output, or --allow-changes, which the table then says"
        )
    # Seed by seed, so that an interrupted ablation has whole tables of fewer seeds.
    return tuple(sorted(jobs, key=lambda job: seeds.index(job.seed)))


def check_files(jobs: Sequence[Job]) -> None:
    """Refuse folders and weights that are not there, before the first run waits for its turn.

    What is done needs none of them any more. A checkpoint takes the place of initial weights, and a
    run keeps a copy of its teacher.

    Raises:
        ConfigError: A row names one; a machine of a cluster has to see the same folders.
    """
    for job in jobs:
        if job.done:
            continue
        values = to_flat(job.settings)
        needed = {key: values[key] for key in PATHS if values[key] is not None}
        if values["model.weights"] not in WITHOUT_FILE:
            needed["model.weights"] = values["model.weights"]
        if any((job.folder / "checkpoints").glob("step-*")):
            for key in ("model.weights", "distillation.teacher"):
                needed.pop(key, None)
        for key, path in needed.items():
            if not Path(path).exists():
                raise ConfigError(
                    f"row {job.row!r}: {key}: {path}: there is no such file or folder"
                )


def _refuse_twins(
    grid: Grid, rows: Sequence[tuple[Row, Settings]], common: Mapping[str, Any]
) -> None:
    """Refuse flags that take away what tells two rows apart: one would run under a wrong name."""
    for (one, settings), (other, others) in itertools.combinations(rows, 2):
        if settings != others:
            continue
        with contextlib.suppress(ConfigError):  # a grid may need flags, such as --teacher
            if row_settings(grid, one, {}) == row_settings(grid, other, {}):
                continue
        raise ConfigError(
            f"rows {one.name!r} and {other.name!r} are the same with "
            f"{', '.join(f'--{key}' for key in common)}; leave out what they differ in"
        )


def check_common_flags(jobs: Sequence[Job], flags: Iterable[str]) -> list[str]:
    """Refuse flags that do nothing in any row; rows that differ in a part do not all have it.

    Returns:
        Flags that have no effect in any row, where baselines take them all the same.

    Raises:
        ConfigError: Every row refuses a flag.
    """
    rows = {job.row: job.settings for job in jobs}
    without_effect = []
    for flag in flags:
        idle, errors = [], []
        for settings in rows.values():
            try:
                idle += check_flags([flag], settings)
            except ConfigError as error:
                errors.append(error)
        if len(errors) == len(rows):
            raise ConfigError(f"{errors[-1]}; no row has it")
        if len(idle) + len(errors) == len(rows):
            without_effect.append(idle[0])
    return without_effect


def unlike_data(jobs: Sequence[Job]) -> list[str]:
    """Runs of rows with the same data whose validation images, classes or label ids differ.

    Somebody has changed the data between them.

    Returns:
        A line for each of them; for people.
    """
    first: dict[tuple[object, ...], tuple[Job, Record]] = {}
    lines = []
    for job in jobs:
        record = read_record(job.folder)
        if record is None:  # not begun, or by an earlier version
            continue
        scored = {key: record[key] for key in ("classes", "label_ids", "val")}
        flat = to_flat(job.settings)
        # What a part of the labelled images is held out for, a seed draws.
        drawn = job.seed if flat.get("data.val") is not None else None
        data = (*(str(flat[key]) for key in flat if key.startswith(VALIDATION)), drawn)
        other, known = first.setdefault(data, (job, scored))
        if found := differences(digests(known), scored, known):
            lines.append(
                f"{job.folder} and {other.folder} were trained on data that had changed in between "
                f"({'; '.join(found)})"
            )
    return lines


def refuse_changes(job: Job, config: Path, what: str) -> None:
    """Refuse to go on with a run under other settings.

    Args:
        job: With the settings that are asked for.
        config: Those that the run has, if there is such a file.
        what: Became of the run with them, for the message.

    Raises:
        ConfigError: They differ.
    """
    if not config.is_file():
        return
    # Of a run the latest checkpoint tells them: the file may have been edited.
    own = config.parent == job.folder
    found = settings_of_run(job.folder) if own else resolve_settings([config], {})
    changes = changed_settings(found, job.settings, OWN)
    if changes:
        raise ConfigError(
            f"{job.folder} {what} with other settings ({'; '.join(changes)}); give another "
            "--output, or remove it"
        )
