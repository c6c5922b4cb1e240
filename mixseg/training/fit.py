"""The opening lines of a run, its training, and what may go wrong on the way."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from mixseg.charts import plots_installed, pseudo_label_chart
from mixseg.config import Settings
from mixseg.data.contract import ClassSet
from mixseg.distributed import lost_process
from mixseg.engine.epochs import steps_per_epoch
from mixseg.engine.run_directory import RunDirectory
from mixseg.engine.teacher import FixedTeacher
from mixseg.engine.trainer import Outcome, Trainer
from mixseg.errors import TrainingError
from mixseg.files import not_written, write_atomically
from mixseg.methods import Distillation
from mixseg.models import model_title
from mixseg.terminal import say
from mixseg.training.data import TrainingData
from mixseg.training.streams import crop_notes, scale_notes


def fit(
    trainer: Trainer,
    data: TrainingData,
    run: RunDirectory,
    console: Console,
    changes: Sequence[str] = (),
) -> tuple[Outcome, Path]:
    """Say what the run is made of, train it, and let go of its folder.

    Args:
        trainer: Of the run.
        data: Of the run.
        run: Its folder.
        console: Where people read.
        changes: Of settings and data since the last checkpoint, which were accepted.

    Raises:
        TrainingError: Training cannot go on; the message says how the run does.
    """
    if run.locked:
        run.write_environment(changes)
    for line in _opening(trainer, data, run):
        say(console, line)
    try:
        outcome = trainer.fit(save_first=bool(changes))
        if outcome.scores and run.locked:  # not interrupted: whoever stops a run wants it to end
            _draw_pseudo_labels(run, data.classes)
        return outcome, run.path
    except RuntimeError as error:
        if lost_process(error):
            raise TrainingError(
                "another process of this run has ended, and its own message says why; go on with "
                f"--resume {shlex.quote(str(run.path))}"
            ) from error
        # torch raises this wherever the process happens to be when a loader worker has died.
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"{error} Out of memory? Try fewer --workers; go on with --resume "
            f"{shlex.quote(str(run.path))}"
        ) from error
    finally:
        run.close()


def _opening(trainer: Trainer, data: TrainingData, run: RunDirectory) -> list[str]:
    """What a run is made of, and notes on what its user may not have meant."""
    split, settings = data.split, trainer.settings
    unlabeled = "unlabeled" in trainer.streams
    lines = [
        f"run {run.path}" + (f", from step {trainer.first}" if trainer.first else ""),
        f"data {data.labeled.root}: {len(split.labeled)} labelled images; split {split.digest}",
    ]
    if unlabeled:
        count = len(data.unlabeled_indices)
        lines.append(f"data {data.unlabeled.root}: {count} unlabelled images")
    lines += [f"data {data.val.root}: {len(data.val)} validation images", *data.notes]
    if unlabeled:
        lines += _unused_labels(settings, data)
    lines.append(
        f"model {model_title(settings.model)}, {_millions(trainer.method.student)} parameters; "
        f"{trainer.device}, {trainer.precision.name}, {torch.get_num_threads()} threads"
    )
    if isinstance(trainer.method, Distillation):
        teacher = _described(trainer.method.expert)
        lines.append(f"teacher {settings.distillation.teacher}: {teacher}")
    lines += [
        f"regularizer {settings.regularizer}: {name} of {_millions(network)} parameters"
        for regularizer in trainer.regularizers
        for name, network in regularizer.networks.items()
    ]
    if settings.stages:
        for number, stage in enumerate(trainer.stages, start=1):
            assert stage.crop is not None
            lines.append(
                f"stage {number}: steps {stage.first} to {stage.last}, crops of "
                f"{stage.crop[0]}x{stage.crop[1]}, {stage.batches['labeled']} labelled images"
            )
    elif settings.training.epochs is not None:
        per_epoch = steps_per_epoch(settings, len(split.labeled))
        lines.append(f"{settings.training.epochs} epochs of {per_epoch} steps")
    lines += crop_notes(settings, data, trainer.stages)
    if unlabeled:
        lines += scale_notes(settings, data)
    if split.note:
        lines.append(f"note: {split.note}")
    among_themselves = settings.mixing.domains == "intra" or not settings.two_domains
    if trainer.method.mixes_unlabeled and among_themselves and settings.data.batch_unlabeled == 1:
        lines.append("note: with data.batch_unlabeled 1 an image has none to be mixed with")
    smallest = min(stage.batches["labeled"] for stage in trainer.stages)
    if settings.mixing.labeled != "none" and smallest == 1:
        lines.append("note: in a batch of one labelled image it has none to be mixed with")
    return lines


@contextmanager
def writing(run: RunDirectory) -> Iterator[None]:
    """Says how a run goes on that the disk has stopped."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        path = run.path if error.filename is None else Path(error.filename)
        raise TrainingError(not_written(path, error)) from error


def _draw_pseudo_labels(run: RunDirectory, classes: ClassSet) -> None:
    """The shares of classes in the pseudo-labels, where they were logged and can be drawn."""
    if not plots_installed():
        return
    chart = pseudo_label_chart(run.metrics, classes.names, classes.palette)
    if chart is not None:
        write_atomically(run.path / "pseudo_labels.png", chart)


def _described(teacher: FixedTeacher) -> str:
    return f"{model_title(teacher.network.spec)}, {_millions(teacher.network)} parameters"


def _millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"


def _unused_labels(settings: Settings, data: TrainingData) -> list[str]:
    """A note where photographs of a folder take the place of the rest of the training split."""
    unused = len(data.split.unlabeled)
    if settings.two_domains or settings.data.unlabeled is None or not unused:
        return []
    return [
        f"note: {unused} labelled images of {data.labeled.root} are not used (data.labeled "
        f"{settings.data.labeled}, and data.unlabeled names others); --labeled full takes them"
    ]
