"""A run from its start to its end: checked, given a folder, trained."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixseg.charts import plots_installed
from mixseg.config.effect import takes_part
from mixseg.config.saved import dump_settings, with_absolute_paths
from mixseg.config.sections import Settings
from mixseg.data.contract import ClassSet
from mixseg.data.splits import id_lines, write_split
from mixseg.data.statistics import dump_frequencies
from mixseg.distillation.teachers import find_teacher, fixed_teacher, keep_teacher
from mixseg.distributed import by_first, lost_process, of_first
from mixseg.errors import TrainingError
from mixseg.files import not_written, write_atomically
from mixseg.methods import Distillation
from mixseg.models import model_title
from mixseg.training.build import build_run
from mixseg.training.checks import check_settings
from mixseg.training.data import TrainingData, open_training_data, with_frequencies
from mixseg.training.from_python import NO_OBJECTS, Objects
from mixseg.training.loop import OnProgress, Outcome, Run, train
from mixseg.training.names import run_name, unused_name
from mixseg.training.run_directory import RunDirectory
from mixseg.training.saved_network import SavedNetworks
from mixseg.training.stages import epochs_in_steps, steps_per_epoch
from mixseg.training.streams import crop_notes, scale_notes

LOG = logging.getLogger("mixseg")


def start(
    settings: Settings,
    on_progress: OnProgress | None = None,
    objects: Objects = NO_OBJECTS,
) -> tuple[Outcome, Path]:
    """Check everything, make the run's folder, train.

    Returns:
        How it ended, and the folder.
    """
    saved_teacher = find_teacher(settings)
    check_settings(settings)
    settings = with_absolute_paths(settings)
    data = open_training_data(settings, objects)
    settings = epochs_in_steps(settings, len(data.split.labeled))
    data = with_frequencies(settings, data)
    teacher = None if saved_teacher is None else fixed_teacher(saved_teacher, data.classes)
    name = settings.name or unused_name(Path(settings.output).expanduser(), run_name(settings))
    name = of_first(name)  # it has the time in it
    settings = dataclasses.replace(settings, name=name)
    path = Path(settings.output).expanduser() / name

    def begun() -> RunDirectory:
        folder = RunDirectory.create(path)
        try:
            _record(folder, settings, data, saved_teacher)
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


def _record(
    run: RunDirectory, settings: Settings, data: TrainingData, teacher: SavedNetworks | None
) -> None:
    """Write the settings and the data of a run into its folder."""
    write_split(run.path, data.labeled, data.split, (*data.labeled.unpaired, *data.val.unpaired))
    write_atomically(run.unlabeled, id_lines(data.unlabeled, data.unlabeled_indices))
    if settings.data.val is not None:
        write_atomically(run.held_out, id_lines(data.val, range(len(data.val))))
    if data.distribution is not None:
        shares = dump_frequencies(data.distribution, data.classes)
        write_atomically(run.alignment, shares)
    if data.frequencies is not None:
        write_atomically(run.frequencies, dump_frequencies(data.frequencies, data.classes))
    if data.class_map:
        write_atomically(run.class_map, data.class_map)
    write_atomically(run.data_record, json.dumps(data.record, indent=0))
    if teacher is not None:
        keep_teacher(run.path, teacher)
    write_atomically(run.config, dump_settings(settings))


def finish(
    run: Run,
    data: TrainingData,
    changes: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> tuple[Outcome, Path]:
    """Train a run to its end and release its folder; messages say what it is made of.

    Args:
        run: Its position is where it starts from.
        data: Of the run.
        changes: Of settings and data since the last checkpoint, which were accepted.
        on_progress: See :func:`mixseg.training.loop.train`.

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
    """Say how a run goes on that was ended by the disk, another process, or a loader.

    Raises:
        TrainingError: In place of the error.
    """
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
    lines.append(
        f"model {model_title(settings.model)}, {_millions(learner.method.student)} parameters; "
        f"{learner.precision.device}, {learner.precision.name}, {torch.get_num_threads()} threads"
    )
    if isinstance(learner.method, Distillation):
        teacher = learner.method.teacher.network
        lines.append(
            f"teacher {settings.distillation.teacher}: {model_title(teacher.spec)}, "
            f"{_millions(teacher)} parameters"
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
    domain = settings.source_domain if settings.two_domains else settings.data
    lines += crop_notes(domain, data, run.stages)
    if unlabeled and run.stages[0].crop is not None:
        lines += scale_notes(domain.resize, settings.data.resize, data)
    if split.note:
        lines.append(f"note: {split.note}")
    among_themselves = settings.options.get("mixing.domains", "intra") == "intra"
    mixes = takes_part(settings.method, "mixer") and among_themselves
    if mixes and settings.data.batch_unlabeled == 1:
        lines.append("note: with data.batch_unlabeled 1 an image has none to be mixed with")
    smallest = min(stage.batches["labeled"] for stage in run.stages)
    if settings.mixing.labeled != "none" and smallest == 1:
        lines.append("note: in a batch of one labeled image it has none to be mixed with")
    return lines


def _draw_pseudo_labels(run: RunDirectory, classes: ClassSet) -> None:
    """The shares of classes in the pseudo-labels, where they were logged and can be drawn."""
    if not plots_installed():
        return
    # Here, because matplotlib takes time to import and may be missing.
    from mixseg.charts import pseudo_label_chart

    chart = pseudo_label_chart(run.path / "metrics.jsonl", classes.names, classes.palette)
    if chart is not None:
        write_atomically(run.path / "pseudo_labels.png", chart)


def _millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"
