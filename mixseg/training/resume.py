"""A run that goes on from its latest checkpoint."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixseg.config.effect import takes_part
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import changed_settings, dump_settings, with_absolute_paths
from mixseg.config.sections import Settings
from mixseg.data.record import differences, digests, read_record
from mixseg.data.splits import id_lines, write_split
from mixseg.distillation.teachers import kept_teacher
from mixseg.distributed import by_first, of_first, together, wait_for_all, world
from mixseg.errors import ConfigError
from mixseg.files import read_bytes, write_atomically
from mixseg.models import ModelSpec
from mixseg.training.build import build_run
from mixseg.training.checkpoint import CheckpointStore, read_checkpoint
from mixseg.training.checks import check_settings
from mixseg.training.data import TrainingData, open_training_data, with_frequencies
from mixseg.training.from_python import NO_OBJECTS, Objects
from mixseg.training.loop import OnProgress, Outcome, Run, set_rate
from mixseg.training.run import explaining_errors, finish
from mixseg.training.run_directory import RunDirectory
from mixseg.training.saved_network import load_state
from mixseg.training.stages import epochs_in_steps
from mixseg.training.state import restore

LOG = logging.getLogger("mixseg")

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
    path: Path,
    overrides: dict[str, Any],
    *,
    allow_changes: bool = False,
    on_progress: OnProgress | None = None,
    objects: Objects = NO_OBJECTS,
) -> tuple[Outcome, Path]:
    """Go on with a run from its latest intact checkpoint.

    Args:
        path: Folder of the run.
        overrides: Setting path -> value that was typed.
        allow_changes: Accept settings that differ from the saved ones.
        on_progress: See :func:`mixseg.training.loop.train`.
        objects: Those that the run was begun with.

    Raises:
        ConfigError: Settings differ and that is not allowed.
    """
    store = CheckpointStore(path / "checkpoints")
    if path.is_dir() and not (path / "config.yaml").is_file() and not store.candidates():
        raise ConfigError(
            f"{path}: no run has begun in this folder: it has neither config.yaml nor a "
            "checkpoint. Start one with the command that was to begin it"
        )
    folder = together(lambda: RunDirectory(path, lock=world().rank == 0))
    try:
        with explaining_errors(path):
            run, data, changes = _opened(folder, overrides, objects, allow_changes=allow_changes)
            return finish(run, data, changes, on_progress)
    finally:
        folder.close()


def _opened(
    run: RunDirectory, overrides: dict[str, Any], objects: Objects, *, allow_changes: bool
) -> tuple[Run, TrainingData, list[str]]:
    """The run at its latest checkpoint, its data, and accepted changes of both."""
    path = run.path
    kept = _latest_state(run)
    if kept is not None and run.locked:
        _restore_files(run, kept)
    wait_for_all()
    if kept is not None:
        objects.check_as_before(list(map(str, kept.get("objects", []))), str(path))
    spec = None if kept is None else ModelSpec.from_json(kept["model"])
    saved, settings = _settings_then_and_now(run, kept, overrides)
    # What a run computes does not depend on how many processes read its images.
    changes = changed_settings(saved, settings, {"data.workers", "output", "name", "imports"})
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
        differing = {line.partition(":")[0] for line in changes}
        flags = ", ".join(f"--{key}" for key in overrides if key in differing)
        way = f"Leave out {flags}" if flags else f"Delete {run.config}, which was edited"
        raise ConfigError(
            f"{path} was made with other settings ({'; '.join(changes)}). {way}, to go on with its "
            f"own ones{advice}"
        )
    if fixed:
        raise ConfigError(f"{path}: {misfit}")
    opened = settings
    if run.alignment.is_file():
        # The run's own record: a file that was changed or moved meanwhile does not matter.
        targets = dataclasses.replace(settings.targets, alignment=str(run.alignment))
        opened = dataclasses.replace(settings, targets=targets)
    check_settings(opened, initial_weights=spec is None)
    data = open_training_data(opened, objects)
    lists = (
        f"--set source_domain.labeled={run.path / 'labeled.txt'}"
        if settings.two_domains
        else f"--labeled {run.path / 'labeled.txt'},{run.path / 'unlabeled.txt'}"
    )
    held_out = "" if settings.data.val is None else f"--val {run.held_out} "
    # Another draw of what is held out would be validated on images that were trained on.
    drawn = settings.data.val is not None and not Path(settings.data.val).is_file()
    if not allow_changes or drawn or kept is None:
        run.check_split(data.split.digest, lists, held_out)
    changes += _data_changes(run, kept, data, allow_changes=allow_changes)
    if settings.two_domains:
        run.check_class_map(data.class_map)
    settings = epochs_in_steps(settings, len(data.split.labeled))
    data = with_frequencies(settings, data, run.frequencies)
    distilled = takes_part(settings.method, "trained_teacher")
    teacher = kept_teacher(run.path, data.classes) if distilled else None
    if changes and run.locked:  # checkpoints take a copy of what is written here
        unpaired = (*data.labeled.unpaired, *data.val.unpaired)
        write_split(run.path, data.labeled, data.split, unpaired)
    built = build_run(settings, data, run, teacher, objects, spec=spec)
    _restore(built)
    for line in changes:
        LOG.warning(f"accepted: {line}")
    if run.locked:
        if changes:
            write_atomically(run.config, dump_settings(settings))
        _write_lists(run, data, changes)
    return built, data, changes


def _restore(run: Run) -> None:
    """Give a run what its latest intact checkpoint holds, if there is one."""
    store, folder = run.store, run.folder
    if folder.locked:
        store.remove_leftovers()
    wait_for_all()
    # The first process chooses: others, on a network drive, may see fewer.
    chosen, problems = by_first(store.latest) or (None, [])
    for problem in problems:
        LOG.warning(f"passed over: {problem}")
    name = of_first("" if chosen is None else chosen.path.name)
    if not name:
        LOG.warning("no checkpoint yet: starting from step 0")
        return
    checkpoint = together(lambda: chosen or read_checkpoint(store.folder / name))
    position = run.position = restore(checkpoint, run.learner)
    run.saved = position.step
    total = run.settings.training.iterations
    if position.step > total:
        raise ConfigError(
            f"{folder.path} is at step {position.step}; training.iterations {total} would go back"
        )
    set_rate(run, position.step - 1)  # what it is saved with, should no step follow
    wait_for_all()  # all have read what may be removed now
    steps = {name: step for name, (step, _) in position.best.items()}

    lost = of_first(json.dumps(by_first(lambda: run.best.restore(steps))))
    for name in json.loads(lost):
        # One that somebody has removed is not to be beaten.
        step, _ = position.best.pop(name)
        LOG.warning(f"{store.folder}: the best {name}, of step {step}, is not there any more")
    if folder.locked:
        store.settle(position.step)


def _latest_state(run: RunDirectory) -> dict[str, Any] | None:
    """Metadata of the run's latest checkpoint; None if it has none yet.

    Raises:
        CheckpointError: There are checkpoints, but none that can be read.
    """

    def read() -> str:
        # Nothing is tidied up yet: a resume that is refused leaves the run as it was.
        there = CheckpointStore(run.checkpoints).candidates()
        return json.dumps(load_state(run.path)) if there else ""

    text = of_first(by_first(read) or "")
    state: dict[str, Any] | None = json.loads(text) if text else None
    return state


def _restore_files(run: RunDirectory, kept: Mapping[str, Any]) -> None:
    """Write files of the run anew that are not as its latest checkpoint has them.

    Settings that can be read are left as they are: whoever edits them asks for others.
    """
    changed = [run.path / name for name in run.restore_records(kept["records"])]
    full = read_record(run.path)
    own = {} if full is None else digests(full)
    for path, name in ((run.labeled, "labeled"), (run.unlabeled, "unlabeled")):
        if full is None or own[name] != kept["data"].get(name):
            continue
        content = "".join(f"{key}\n" for key in full[name])
        if not path.is_file() or read_bytes(path) != content.encode():
            write_atomically(path, content)
            changed.append(path)
    try:
        resolve_settings([run.config], {})
    except ConfigError:
        write_atomically(run.config, dump_settings(resolve_settings([], kept["settings"])))
        changed.append(run.config)
    for path in changed:
        text = f"{path}: was lost or changed; written anew from the latest checkpoint"
        LOG.warning(text)


def _settings_then_and_now(
    run: RunDirectory, kept: Mapping[str, Any] | None, overrides: dict[str, Any]
) -> tuple[Settings, Settings]:
    """The settings that the run was trained with, by its latest checkpoint, and those asked for."""
    asked = resolve_settings([run.config], overrides)
    if kept is None:
        saved = resolve_settings([run.config], {})
    else:
        saved = resolve_settings([], kept["settings"])
    return with_absolute_paths(saved), with_absolute_paths(asked)


def _data_changes(
    run: RunDirectory, kept: Mapping[str, Any] | None, data: TrainingData, *, allow_changes: bool
) -> list[str]:
    """How the data differ from what the run was trained on.

    Raises:
        ConfigError: They do, and that is not allowed; or the classes are not as many.
    """
    now = data.record
    full = read_record(run.path)
    if kept is not None:
        found = differences(kept["data"], now, full)
        there = int(kept["model"]["num_classes"])
        if there != len(data.classes):
            raise ConfigError(
                f"{run.path}: its network tells {there} classes apart, the data have "
                f"{len(data.classes)} ({'; '.join(found)}): bring them back, or start a new run"
            )
    else:
        found = [] if full is None else differences(digests(full), now, full)
    if found and not allow_changes:
        raise ConfigError(
            f"{run.path}: the data are not those that it was trained on ({'; '.join(found)}). "
            "Bring them back, start a new run, or go on with what is there now: --allow-changes"
        )
    return found


def _write_lists(run: RunDirectory, data: TrainingData, changes: Sequence[str]) -> None:
    """Bring the lists of the run's images into line with the images that it goes on with."""
    contents = {
        run.labeled: id_lines(data.labeled, data.split.labeled),
        run.unlabeled: id_lines(data.unlabeled, data.unlabeled_indices),
        run.data_record: json.dumps(data.record, indent=0),
    }
    if data.split.held_out:
        contents[run.held_out] = id_lines(data.val, range(len(data.val)))
    for path, content in contents.items():
        if path.is_file() and read_bytes(path) == content.encode():
            continue
        write_atomically(path, content)
        if not changes and path != run.data_record:  # which older versions did not write
            LOG.warning(f"{path}: was lost or changed; written anew from the data")
