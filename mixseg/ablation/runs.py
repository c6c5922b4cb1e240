"""The runs of an ablation: independent processes; finished ones are kept."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from mixseg.ablation.grid import Grid, row_settings
from mixseg.config.checks import WITHOUT_FILE
from mixseg.config.effect import check_flags, command_of
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import PATHS, changed_settings, dump_settings, with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.data.record import Record, differences, digests, read_record
from mixseg.errors import ConfigError
from mixseg.files import read_text, write_atomically
from mixseg.training.checks import check_settings
from mixseg.training.saved_network import settings_of_run

Errors = dict[tuple[str, int], str]
"""(row, seed) -> why that run failed; runs that went well are not in it."""

ERROR_LENGTH = 300
"""Longest error in characters that a table shows."""

OWN = ("name", "output", "seed", "data.workers", "imports")
"""Settings in which the runs of a row may differ."""

VALIDATION = ("data.dataset", "data.root", "data.val", "data.split_seed", "demo.")
"""Prefixes of the settings that say what a run is scored on."""


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
    """The runs of a grid, checked before the first one starts.

    Args:
        grid: The grid.
        output: Folder of the ablation; it may hold runs of an earlier call.
        seeds: One run of each row for each.
        common: Setting path -> value for every row.
        allow_changes: Continue although the data have changed since runs of an earlier call.

    Raises:
        ConfigError: The settings of a row cannot work or name an unknown part, or the folder holds
            a run that was made with other settings, or runs on data that had changed in between.
    """
    jobs: list[Job] = []
    for row in grid.rows:
        if row.cited:
            continue
        try:
            settings = with_absolute_paths(row_settings(grid, row, common))
            runs = [
                Job(row.name, seed, output / f"{row.folder}-seed{seed}", settings, allow_changes)
                for seed in seeds
            ]
            if not all(job.done for job in runs):
                _check_names(runs[0])
        except ConfigError as error:
            raise ConfigError(f"row {row.name!r}: {error}") from error
        jobs += runs
    if common:
        _refuse_twins(grid, jobs, common)
    for job in jobs:
        refuse_changes(job, job.folder / "config.yaml", "was made")
    if not allow_changes and (found := unlike_data(jobs)):
        raise ConfigError(
            f"{'; '.join(found)}. Their scores are those of different images or classes: give "
            "another --output, or --allow-changes, which the table then says"
        )
    # Seed by seed, so that an interrupted ablation has whole tables of fewer seeds.
    return tuple(sorted(jobs, key=lambda job: seeds.index(job.seed)))


def _check_names(job: Job) -> None:
    """Refuse unknown names of parts, which a run would find only once its turn has come.

    This machine may lack the device, and a dry run the data.
    """
    settings = job.settings
    training = dataclasses.replace(settings.training, device="auto", sync_batch_norm=False)
    data = dataclasses.replace(settings.data, root=settings.data.root or "anywhere")
    source = settings.source_domain
    if source.dataset is not None:
        source = dataclasses.replace(source, root=source.root or "anywhere")
    changed = dataclasses.replace(settings, training=training, data=data, source_domain=source)
    check_settings(changed, initial_weights=False)


def check_files(jobs: Sequence[Job]) -> None:
    """Refuse folders and weights that are missing, before the first run waits for its turn.

    Runs that are done need no files. A checkpoint takes the place of initial weights, and a run
    keeps a copy of its teacher.
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


def _refuse_twins(grid: Grid, jobs: Sequence[Job], common: Mapping[str, Any]) -> None:
    """Refuse flags that make two rows equal: one would run under a wrong name."""
    settings = {job.row: job.settings for job in jobs}
    trained = [row for row in grid.rows if row.name in settings]
    for one, other in itertools.combinations(trained, 2):
        if settings[one.name] != settings[other.name]:
            continue
        with contextlib.suppress(ConfigError):  # a grid may need flags, such as --teacher
            if row_settings(grid, one, {}) == row_settings(grid, other, {}):
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


def unlike_data(jobs: Sequence[Job]) -> list[str]:
    """A line for each run whose validation images, classes or label ids differ from those of an
    earlier one with the same data settings: the data have changed between them."""
    first: dict[tuple[object, ...], tuple[Job, Record]] = {}
    lines = []
    for job in jobs:
        record = read_record(job.folder)
        if record is None:  # not begun, or by an earlier version
            continue
        scored = {key: record[key] for key in ("classes", "label_ids", "val")}
        flat = to_flat(job.settings)
        # The seed draws what is held out of the labeled images.
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
    """Refuse to continue a run with other settings than those in ``config``, if that exists.

    ``what`` says for the message what became of the run: ``was made``, ``is in the queue``.
    """
    if not config.is_file():
        return
    # The latest checkpoint of a run has its settings: the file may have been edited.
    own = config.parent == job.folder
    found = settings_of_run(job.folder) if own else resolve_settings([config], {})
    changes = changed_settings(to_flat(found), to_flat(job.settings), OWN)
    if changes:
        raise ConfigError(
            f"{job.folder} {what} with other settings ({'; '.join(changes)}); give another "
            "--output, or remove it"
        )
