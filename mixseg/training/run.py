"""A run from its start, or from its latest checkpoint, to its end."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import logging
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixseg.charts import plots_installed
from mixseg.config.effect import asked_for, command_of, takes_part
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import changed_settings, dump_settings, with_absolute_paths
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.data.borders import dump_pairs
from mixseg.data.contract import ClassSet
from mixseg.data.record import differences, digests, read_record
from mixseg.data.splits import id_lines, write_split
from mixseg.data.statistics import dump_frequencies, dump_pixels, pixels_key
from mixseg.distributed import by_first, lost_process, of_first, together, wait_for_all, world
from mixseg.errors import ConfigError, TrainingError
from mixseg.files import not_written, read_bytes, write_atomically
from mixseg.models import FixedTeacher, ModelSpec, model_title
from mixseg.training.build import build_run
from mixseg.training.checkpoint import CheckpointStore, read_checkpoint
from mixseg.training.checks import check_settings
from mixseg.training.data import RunData, TrainingData
from mixseg.training.from_python import NO_OBJECTS, Objects
from mixseg.training.loop import OnProgress, Outcome, train
from mixseg.training.run_directory import RunDirectory
from mixseg.training.saved_network import load_state
from mixseg.training.stages import epochs_in_steps, steps_per_epoch
from mixseg.training.state import Run, restore
from mixseg.training.streams import crop_notes, scale_notes
from mixseg.training.teachers import find_teacher, fixed_teacher, keep_teacher, kept_teacher

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


# A new run ----------------------------------------------------------------------------------------


def start(
    settings: Settings,
    on_progress: OnProgress | None = None,
    objects: Objects = NO_OBJECTS,
) -> tuple[Outcome, Path]:
    """Check everything, make the run's folder, train; gives how it ended, and the folder."""
    saved_teacher = find_teacher(to_flat(settings))
    check_settings(settings)
    settings = with_absolute_paths(settings)
    run_data = RunData(settings, objects)
    data = run_data.training()
    settings = epochs_in_steps(settings, len(data.split.labeled))
    data = run_data.with_counts(data)
    teacher = None if saved_teacher is None else fixed_teacher(saved_teacher, data.classes)
    output = Path(settings.output).expanduser()
    named = run_name(to_flat(settings), model_title(settings.model))
    name = of_first(settings.name or unused_name(output, named))  # it has the time in it
    settings = dataclasses.replace(settings, name=name)
    path = output / name

    def begun() -> RunDirectory:
        folder = RunDirectory.create(path)
        try:
            _write_record(folder, data)
            if saved_teacher is not None:
                keep_teacher(folder.path, saved_teacher)
            write_atomically(folder.config, dump_settings(settings))
            folder.publish()
        except BaseException:
            folder.remove()
            raise
        return folder

    folder = by_first(begun) or RunDirectory(path, lock=False)
    # The settings come first: building may download weights, and who is killed meanwhile must be
    # able to resume. What cannot be built must not leave a folder that looks like a run.
    try:
        run = build_run(settings, data, folder, teacher, objects)
    except BaseException:
        if folder.locked:
            folder.remove()
        raise
    with explaining_errors(folder.path):
        return finish(run, data, on_progress=on_progress)


def run_name(values: Mapping[str, Any], model: str) -> str:
    """Such as ``ssl-demo-classmix-1of8-seed0-20260102-030405``, from setting path -> value and the
    title of the network.
    """
    method, source, seed = values["method"], values["source_domain.dataset"], values["seed"]
    labeled = [values["data.labeled" if source is None else "source_domain.labeled"]]
    if values.get("data.labeled_target") is not None:
        labeled.append(values["data.labeled_target"])
    parts = [command_of(method), *([source] if source else []), values["data.dataset"]]
    if takes_part(method, "mixer"):
        parts.append(values["mixing.mixer"])
    if takes_part(method, "trained_teacher"):
        parts.append(model)
    parts += map(_in_a_name, labeled)
    return "-".join([*parts, f"seed{seed}", time.strftime("%Y%m%d-%H%M%S")])


def _in_a_name(labeled: str) -> str:
    fraction = re.fullmatch(r"(\d+)/(\d+)", labeled)
    labeled = f"{fraction[1]}of{fraction[2]}" if fraction else Path(labeled).name
    return re.sub(r"[^A-Za-z0-9.]", "-", labeled)[:20]


def unused_name(folder: Path, name: str) -> str:
    """The name, with a number after it if another run of the same second has taken it."""
    names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(name for name in names if not (folder / name).exists())


def _write_record(run: RunDirectory, data: TrainingData) -> None:
    """Write what the run has found in its data, which it reads again when it goes on."""
    write_split(run.path, data.labeled, data.split, (*data.labeled.unpaired, *data.val.unpaired))
    for path, content in _lists(run, data).items():
        write_atomically(path, content)
    shares = {run.alignment: data.distribution, run.frequencies: data.frequencies}
    for path, by_class in shares.items():
        if by_class is not None:
            write_atomically(path, dump_frequencies(by_class, data.classes))
    if data.related is not None:
        write_atomically(run.related, dump_pairs(data.related, data.classes))
    if data.class_map:
        write_atomically(run.class_map, data.class_map)


# A run that goes on -------------------------------------------------------------------------------


def resume(
    path: Path,
    overrides: dict[str, Any],
    *,
    allow_changes: bool = False,
    on_progress: OnProgress | None = None,
    objects: Objects = NO_OBJECTS,
) -> tuple[Outcome, Path]:
    """Go on with a run from its latest intact checkpoint; gives how it ended, and the folder.

    Args:
        path: Folder of the run.
        overrides: Setting path -> value that was typed.
        allow_changes: Accept settings and data that differ from the saved ones.
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
    settings = with_absolute_paths(resolve_settings([run.config], overrides))
    own = ([run.config], {}) if kept is None else ([], kept["settings"])
    saved = with_absolute_paths(resolve_settings(*own))
    # What a run computes does not depend on how many processes read its images.
    free = {"data.workers", "output", "name", "imports"}
    changes = changed_settings(to_flat(saved), to_flat(settings), free)
    _check_changes(run, changes, overrides, begun=spec is not None, allowed=allow_changes)
    opened = settings
    if run.alignment.is_file():
        # The run's own record: a file that was changed or moved meanwhile does not matter.
        targets = dataclasses.replace(settings.targets, alignment=str(run.alignment))
        opened = dataclasses.replace(settings, targets=targets)
    check_settings(opened, initial_weights=spec is None)
    run_data = RunData(opened, objects)
    data = run_data.training()
    lists = (
        f"--set source_domain.labeled={run.lists['labeled']}"
        if settings.two_domains
        else f"--labeled {run.lists['labeled']},{run.lists['unlabeled']}"
    )
    if data.target is not None:
        rest = f",{run.lists['unlabeled']}" if data.unlabeled is data.target else ""
        lists += f" --labeled-target {run.lists['target']}{rest}"
    held_out = "" if settings.data.val is None else f"--val {run.held_out} "
    # Another draw of what is held out would be validated on images that were trained on.
    drawn = settings.data.val is not None and not Path(settings.data.val).is_file()
    if not allow_changes or drawn or kept is None:
        run.check_split(data.split.digest, lists, held_out)
    changes += _data_changes(run, kept, data, allow_changes=allow_changes)
    if settings.two_domains:
        run.check_class_map(data.class_map)
    settings = epochs_in_steps(settings, len(data.split.labeled))
    data = run_data.with_frequencies(data, run.frequencies)
    data = run_data.with_related(data, run.related)
    data = run_data.with_class_pixels(data, run.class_pixels)
    has_teacher = asked_for(to_flat(settings), "trained_teacher")
    teacher = kept_teacher(run.path, data.classes) if has_teacher else None
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


def _check_changes(
    run: RunDirectory, changes: list[str], overrides: Iterable[str], *, begun: bool, allowed: bool
) -> None:
    """Refuse changed settings that are not allowed, or that no checkpoint fits."""
    if begun and any(line.startswith(FREE) for line in changes):
        raise ConfigError(
            f"{run.path} has a checkpoint, which takes the place of initial weights: leave "
            "--weights and model.weights_sha256 as they were"
        )
    fixed = [line for line in changes if line.startswith(FIXED) and not line.startswith(FREE)]
    misfit = f"a checkpoint does not fit such a change: {'; '.join(fixed)}"
    if changes and not allowed:
        advice = (
            f"; {misfit}, not even with --allow-changes"
            if fixed
            else ", or add --allow-changes to go on with the new ones"
        )
        differing = {line.partition(":")[0] for line in changes}
        flags = ", ".join(f"--{key}" for key in overrides if key in differing)
        way = f"Leave out {flags}" if flags else f"Delete {run.config}, which was edited"
        raise ConfigError(
            f"{run.path} was made with other settings ({'; '.join(changes)}). {way}, to go on with "
            f"its own ones{advice}"
        )
    if fixed:
        raise ConfigError(f"{run.path}: {misfit}")


def _restore(run: Run) -> None:
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
    run.set_rate(position.step - 1)  # what it is saved with, should no step follow
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
    for name, path in run.lists.items():
        if full is None or name not in own or own[name] != kept["data"].get(name):
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
        LOG.warning(f"{path}: was lost or changed; written anew from the latest checkpoint")


def _data_changes(
    run: RunDirectory, kept: Mapping[str, Any] | None, data: TrainingData, *, allow_changes: bool
) -> list[str]:
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


def _lists(run: RunDirectory, data: TrainingData) -> dict[Path, str]:
    contents = {run.lists[name]: id_lines(*stream) for name, stream in data.streams.items()}
    contents[run.data_record] = json.dumps(data.record, indent=0)
    if data.split.held_out:
        contents[run.held_out] = id_lines(data.val, range(len(data.val)))
    if data.class_pixels:
        streams = data.with_labels
        counts = {pixels_key(*streams[name]): one for name, one in data.class_pixels.items()}
        contents[run.class_pixels] = dump_pixels(counts)
    return contents


def _write_lists(run: RunDirectory, data: TrainingData, changes: Sequence[str]) -> None:
    for path, content in _lists(run, data).items():
        if path.is_file() and read_bytes(path) == content.encode():
            continue
        write_atomically(path, content)
        if not changes and path != run.data_record:  # which older versions did not write
            LOG.warning(f"{path}: was lost or changed; written anew from the data")


# Its end ----------------------------------------------------------------------------------------


def finish(
    run: Run,
    data: TrainingData,
    changes: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> tuple[Outcome, Path]:
    """Train a run from its position to its end and release its folder.

    Messages say what it is made of; ``changes`` are those of settings and data since the last
    checkpoint, which were accepted.

    Raises:
        TrainingError: Training cannot go on; the message says how the run does.
    """
    folder = run.folder
    try:
        if folder.locked:
            folder.write_environment(changes)
        for line in _opening(run, data):
            LOG.info(line)
        outcome = train(run, on_progress, save_first=bool(changes))
        if outcome.scores and folder.locked:  # not interrupted: whoever stops a run wants an end
            write_atomically(folder.summary, json.dumps(_summary(run, outcome), indent=1))
            _draw_pseudo_labels(folder, data.classes)
        return outcome, folder.path
    finally:
        folder.close()


@contextmanager
def explaining_errors(path: Path) -> Iterator[None]:
    """Say how a run goes on that was ended by the disk, another process, or a loader."""
    again = f"go on with --resume {shlex.quote(str(path))}"
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        where = path if error.filename is None else Path(error.filename)
        raise TrainingError(not_written(where, error)) from error
    except RuntimeError as error:
        if lost_process(error):
            raise TrainingError(
                f"another process of this run has ended, and its own message says why; {again}"
            ) from error
        # torch raises this wherever the process happens to be when a loader worker has died.
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(f"{error} Out of memory? Try fewer --workers; {again}") from error


def _summary(run: Run, outcome: Outcome) -> dict[str, Any]:
    accumulate, staged = run.settings.training.accumulate, bool(run.settings.stages)
    batches = {
        name: [stage.batches[name] * accumulate for stage in run.stages] for name in run.streams
    }
    return {
        "settings": dataclasses.asdict(run.settings),
        "step": outcome.step,
        "last": {name: one.to_json() for name, one in outcome.scores.items()},
        "best": {
            name: {"step": step} | one.to_json() for name, (step, one) in outcome.best.items()
        },
        "seconds_per_step": outcome.seconds_per_step,
        "peak_memory": outcome.peak_memory,
        "precision": outcome.precision,
        # Images of a stream in an optimizer step; one number for each stage if there are any.
        "effective_batch": {name: sizes if staged else sizes[0] for name, sizes in batches.items()},
    }


def _opening(run: Run, data: TrainingData) -> list[str]:
    """The parts of a run, and notes on what its user may not have meant."""
    split, settings, learner = data.split, run.settings, run.learner
    unlabeled, step = "unlabeled" in run.streams, run.position.step
    lines = [
        f"run {run.folder.path}" + (f", from step {step}" if step else ""),
        f"data {data.labeled.root}: {len(split.labeled)} labeled images; split {split.digest}",
    ]
    if "target" in run.streams:
        dataset, indices = data.streams["target"]
        lines.append(f"data {dataset.root}: {len(indices)} labeled target images")
    if unlabeled:
        count = len(data.unlabeled_indices)
        lines.append(f"data {data.unlabeled.root}: {count} unlabeled images")
    lines += [f"data {data.val.root}: {len(data.val)} validation images", *data.notes]
    if unlabeled and not settings.two_domains and settings.data.unlabeled and split.unlabeled:
        lines.append(
            f"note: {len(split.unlabeled)} labeled images of {data.labeled.root} are not used "
            f"(data.labeled {settings.data.labeled}, and data.unlabeled names others); --labeled "
            "full takes them"
        )
    rest = () if data.target_split is None else data.target_split.unlabeled
    if unlabeled and settings.data.unlabeled and rest:
        lines.append(
            f"note: {len(rest)} images of the target's split are not used (data.labeled_target "
            f"{settings.labeled_target}, and data.unlabeled names others); --labeled-target full "
            "takes their labels"
        )
    lines.append(
        f"model {model_title(settings.model)}, {_millions(learner.method.student)} parameters; "
        f"{learner.precision.device}, {learner.precision.name}, {torch.get_num_threads()} threads"
    )
    teacher = getattr(learner.method, "teacher", None)
    if isinstance(teacher, FixedTeacher):
        lines.append(
            f"teacher {settings.distillation.teacher}: {model_title(teacher.network.spec)}, "
            f"{_millions(teacher.network)} parameters"
        )
    lines += [
        f"regularizer {settings.regularizer}: {name} of {_millions(network)} parameters"
        for regularizer in learner.regularizers
        for name, network in regularizer.networks.items()
    ]
    if settings.stages:
        for number, stage in enumerate(run.stages, start=1):
            assert stage.crop is not None
            lines.append(
                f"stage {number}: steps {stage.first} to {stage.last}, crops of "
                f"{stage.crop[0]}x{stage.crop[1]}, {stage.batches['labeled']} labeled images"
            )
    elif settings.training.epochs is not None:
        batch, accumulate = settings.data.batch_labeled, settings.training.accumulate
        per_epoch = steps_per_epoch(len(split.labeled), batch, accumulate)
        lines.append(f"{settings.training.epochs} epochs of {per_epoch} steps")
    domain = settings.labeled_section
    lines += crop_notes(domain, data, run.stages)
    if unlabeled and run.stages[0].crop is not None:
        lines += scale_notes(domain.resize, settings.data.resize, data)
    for one in (split, data.target_split):
        if one is not None and one.note:
            lines.append(f"note: {one.note}")
    among_themselves = settings.options.get("mixing.domains", "intra") == "intra"
    mixes = takes_part(settings.method, "mixer") and among_themselves
    if mixes and settings.data.batch_unlabeled == 1:
        lines.append("note: with data.batch_unlabeled 1 an image has none to be mixed with")
    smallest = min(stage.batches["labeled"] for stage in run.stages)
    if settings.mixing.labeled != "none" and smallest == 1:
        lines.append("note: in a batch of one labeled image it has none to be mixed with")
    return lines


def _draw_pseudo_labels(run: RunDirectory, classes: ClassSet) -> None:
    if not plots_installed():
        return
    # Here, because matplotlib takes time to import and may be missing.
    from mixseg.charts import pseudo_label_chart

    chart = pseudo_label_chart(run.path / "metrics.jsonl", classes.names, classes.palette)
    if chart is not None:
        write_atomically(run.path / "pseudo_labels.png", chart)


def _millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"
