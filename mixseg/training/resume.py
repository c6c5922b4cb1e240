"""A run that goes on from its latest checkpoint."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from mixseg.config import changed_settings, dump_settings, resolve_settings, with_absolute_paths
from mixseg.data.splits import id_lines
from mixseg.distillation.teachers import kept_teacher
from mixseg.distributed import by_first, of_first, together, world
from mixseg.engine.epochs import epochs_in_steps
from mixseg.engine.run_directory import RunDirectory
from mixseg.engine.saved_network import load_spec
from mixseg.engine.trainer import Outcome
from mixseg.errors import CheckpointError, ConfigError
from mixseg.files import write_atomically
from mixseg.models import ModelSpec
from mixseg.training.checks import check_settings
from mixseg.training.compose import build_trainer, with_frequencies
from mixseg.training.data import open_training_data
from mixseg.training.fit import fit, writing

FIXED = (
    "method",
    "model.",
    "optimizer.name",
    "regularizer",
    "distillation.network",
    "distillation.teacher",
    "source_domain.dataset",
    "targets.alignment:",
)
"""Prefixes of settings that a resume may not change: checkpoints depend on them."""

FREE = ("model.weights",)
"""Those among them that it may as long as there is no checkpoint."""


def resume(
    path: Path, overrides: dict[str, Any], console: Console, *, allow_changes: bool
) -> tuple[Outcome, Path]:
    """Go on with a run from its latest intact checkpoint.

    Args:
        path: Folder of the run.
        overrides: Setting path -> value that was typed.
        console: Where people read.
        allow_changes: Accept settings that differ from the saved ones.

    Raises:
        ConfigError: Settings differ and that is not allowed.
    """
    if path.is_dir() and not (path / "config.yaml").is_file():
        raise ConfigError(
            f"{path} is not a run: it has no config.yaml. A run that was killed before its first "
            "step leaves such a folder: remove it"
        )
    run = together(lambda: RunDirectory(path, lock=world().rank == 0))
    try:
        with writing(run):
            return _resume(run, overrides, console, allow_changes=allow_changes)
    finally:
        run.close()


def _resume(
    run: RunDirectory, overrides: dict[str, Any], console: Console, *, allow_changes: bool
) -> tuple[Outcome, Path]:
    path = run.path
    spec = _saved_spec(run)
    saved = with_absolute_paths(resolve_settings([run.config], {}))
    settings = with_absolute_paths(resolve_settings([run.config], overrides))
    # What a run computes does not depend on how many processes read its images.
    changes = changed_settings(saved, settings, {"data.workers", "output", "name"})
    if spec is not None and any(line.startswith(FREE) for line in changes):
        raise ConfigError(
            f"{path} has a checkpoint, which takes the place of initial weights: leave --weights "
            "and model.weights_sha256 as they were"
        )
    fixed = [line for line in changes if line.startswith(FIXED) and not line.startswith(FREE)]
    misfit = f"a checkpoint does not fit such a change: {'; '.join(fixed)}"
    if changes and not allow_changes:
        advice = (
            f"; {misfit}, not even with --allow-changes"
            if fixed
            else ", or add --allow-changes to go on with the new ones"
        )
        raise ConfigError(
            f"{path} was started with other settings ({'; '.join(changes)}). Resume without these "
            f"flags{advice}"
        )
    if fixed:
        raise ConfigError(f"{path}: {misfit}")
    opened = settings
    if run.alignment.is_file():
        # The run's own record: a file that was changed or moved meanwhile is of no importance.
        targets = dataclasses.replace(settings.targets, alignment=str(run.alignment))
        opened = dataclasses.replace(settings, targets=targets)
    check_settings(opened, initial_weights=spec is None)
    data = open_training_data(opened, console)
    lists = (
        f"--set source_domain.labeled={run.path / 'labeled.txt'}"
        if settings.two_domains
        else f"--labeled {run.path / 'labeled.txt'},{run.path / 'unlabeled.txt'}"
    )
    unlabeled = id_lines(data.unlabeled, data.unlabeled_indices)
    run.check_split(data.split.digest, unlabeled, lists, allow_changes=allow_changes)
    if settings.two_domains:
        run.check_class_map(data.class_map)
    settings = epochs_in_steps(settings, len(data.split.labeled))
    data = with_frequencies(settings, data, console, run.frequencies)
    distilled = settings.method == "distillation"
    teacher = kept_teacher(run.path, data.classes) if distilled else None
    trainer = build_trainer(settings, data, run, console, teacher, spec=spec)
    trainer.resume()
    if changes and run.locked:
        write_atomically(run.config, dump_settings(settings))
    if allow_changes and run.locked:
        write_atomically(run.unlabeled, unlabeled)
    return fit(trainer, data, run, console)


def _saved_spec(run: RunDirectory) -> ModelSpec | None:
    """The network of the run's checkpoints; None if there is none that can be read."""

    def read() -> str:
        try:
            return json.dumps(load_spec(run.path).to_json())
        except CheckpointError:
            return ""

    text = of_first(by_first(read) or "")
    return ModelSpec.from_json(json.loads(text)) if text else None
