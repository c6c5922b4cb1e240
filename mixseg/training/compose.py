"""The objects of a run, put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from mixseg.config import Settings, to_flat
from mixseg.data.arrays import Size
from mixseg.data.contract import SegmentationDataset
from mixseg.data.frequencies import class_frequencies, frequencies_of, read_frequencies
from mixseg.data.record import digests
from mixseg.distributed import world
from mixseg.engine.learner import Learner
from mixseg.engine.method import MethodInputs
from mixseg.engine.precision import Precision
from mixseg.engine.run_directory import RunDirectory
from mixseg.engine.saved_network import network_card
from mixseg.engine.schedules import build_schedule, momentum_cycle
from mixseg.engine.skipped import SkippedSamples
from mixseg.engine.stages import of_one_stage, plan_stages, staged
from mixseg.engine.teacher import FixedTeacher
from mixseg.engine.trainer import Trainer
from mixseg.errors import DataError
from mixseg.evaluation.evaluator import Resolution, evaluate
from mixseg.evaluation.scores import Scores
from mixseg.losses import needs_frequencies
from mixseg.methods import METHODS
from mixseg.models import ModelSpec
from mixseg.randomness import derive_seed
from mixseg.terminal import say
from mixseg.training.data import TrainingData, training_size
from mixseg.training.learner import build_learner
from mixseg.training.precision import precision_of_run
from mixseg.training.streams import build_streams, loader_workers


def compose_learner(
    settings: Settings,
    data: TrainingData,
    console: Console,
    teacher: FixedTeacher | None,
    recorded: Path | None = None,
    *,
    spec: ModelSpec | None = None,
) -> Learner:
    """What learns in a run; what its weight file gave is printed.

    Args:
        settings: Of the run.
        data: Of the run.
        console: Where people read.
        teacher: Trained network to learn from, if there is one.
        recorded: See :func:`precision_of_run`.
        spec: Network of a run that goes on. It has chosen its precision, and needs no initial
            weights.
    """
    # Nothing here draws from the global generator, which torch starts with a seed of its own in
    # every process; but the dropout of a backbone does, in each process of a run its own.
    rank = world().rank
    torch.manual_seed(derive_seed(settings.seed, "process", rank) if rank else settings.seed)
    inputs = method_inputs(data)._replace(teacher=teacher)
    last = of_one_stage(settings, -1)
    size = training_size(last, "labeled", data)
    choose = precision_of_run(last, size, console, recorded, measure=spec is None)
    names = data.classes.names
    learner, report = build_learner(
        settings,
        len(names),
        inputs,
        choose=choose,
        classes=names,
        spec=spec,
        sizes=_sizes(settings, data) if spec is None else (),
    )
    if report is not None:
        say(console, report.describe())
    return learner


def _sizes(settings: Settings, data: TrainingData) -> list[Size]:
    """Sizes of the images that a run trains on and validates, of the first where each has its own.

    A file that cannot be read has none; it is the training's to skip or to refuse.
    """
    found = []
    for number in range(max(1, len(settings.stages))):
        stage = of_one_stage(settings, number)
        for name in METHODS[settings.method].streams_of(settings):
            with suppress(DataError):
                found.append(training_size(stage, name, data))
    with suppress(DataError):
        found.append(settings.data.resize or data.val.size(0))
    return found


def build_trainer(
    settings: Settings,
    data: TrainingData,
    run: RunDirectory,
    console: Console,
    teacher: FixedTeacher | None,
    *,
    spec: ModelSpec | None = None,
) -> Trainer:
    """Compose the parts of a run; ``spec`` is that of :func:`compose_learner`."""
    learner = compose_learner(settings, data, console, teacher, run.precision, spec=spec)
    stages = plan_stages(settings, len(data.split.labeled))
    schedule = build_schedule(settings.schedule, settings.training.iterations)
    workers = loader_workers(settings)
    return Trainer(
        learner=learner,
        streams=build_streams(settings, data, stages, learner.method),
        stages=stages,
        schedule=staged(schedule, stages),
        momentum=momentum_cycle(settings.schedule, settings.training.iterations),
        validate=validator(settings, data.val, learner.precision, workers),
        run=run,
        settings=settings,
        card=network_card(learner.method.student.spec, data.classes, to_flat(settings))
        | {"data": digests(data.record), "records": run.records()},
        console=console,
        skipped=_skipped(settings, data, run, console),
    )


def validator(
    settings: Settings, val: SegmentationDataset, precision: Precision, workers: int
) -> Callable[[nn.Module], Scores]:
    """A function from a network to its scores on the validation split."""
    data = settings.data
    size: Resolution = "native"
    if settings.validation.resolution == "input" and data.resize is not None:
        size = data.resize

    def validate(network: nn.Module) -> Scores:
        return evaluate(
            network,
            val,
            input_size=data.resize,
            resolution=size,
            device=precision.device,
            autocast=precision.autocast,
            workers=workers,
            batch_size=settings.validation.batch_size,
        )

    return validate


def _skipped(
    settings: Settings, data: TrainingData, run: RunDirectory, console: Console
) -> SkippedSamples | None:
    if not settings.data.skip_bad:
        return None
    samples = {"labeled": len(data.split.labeled), "unlabeled": len(data.unlabeled_indices)}
    share = settings.data.skip_bad_share
    return SkippedSamples(run.skipped, samples, share, console, writes=run.locked)


def method_inputs(data: TrainingData) -> MethodInputs:
    """What the data of a run give its method."""

    def tensor(shares: NDArray[np.float64] | None) -> Tensor | None:
        return None if shares is None else torch.from_numpy(shares).float()

    return MethodInputs(
        target_distribution=tensor(data.distribution), class_frequencies=tensor(data.frequencies)
    )


def with_frequencies(
    settings: Settings, data: TrainingData, console: Console, recorded: Path | None = None
) -> TrainingData:
    """The data with the share of each class among its labels, where a loss asks for it.

    Args:
        settings: Of the run; shares that they give come first.
        data: Of the run.
        console: Where people read.
        recorded: Shares that an earlier process of the run counted, if there is such a file.

    Raises:
        DataError: A class is unknown or missing, or all shares are 0.
    """
    loss = settings.supervised_loss
    if not needs_frequencies(loss):
        return data
    if loss.frequencies is not None:
        where = "supervised_loss.frequencies"
        shares = frequencies_of(loss.frequencies, data.classes, where)
    elif recorded is not None and recorded.is_file():
        shares = read_frequencies(recorded, data.classes)
    else:
        indices = data.split.labeled
        say(console, f"counting the classes of {len(indices)} labels")
        shares = class_frequencies(data.labeled, indices, skip_bad=settings.data.skip_bad)
    return dataclasses.replace(data, frequencies=shares)
