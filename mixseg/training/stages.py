"""Epochs as steps, and progressive scaling: stages of growing crops (Lourenço, III.D)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from mixseg.config.sections import DataSettings, Settings, StageSettings, TrainingSettings
from mixseg.errors import ConfigError
from mixseg.training.schedules import Schedule


@final
@dataclass(frozen=True)
class Stage:
    """Some steps of a run that share crop and batch size.

    Attributes:
        first: Number of its first step.
        last: Number of the step after its last.
        crop: Height and width of random crops; None does not crop.
        batches: Name of a stream -> images per batch.
        draws: Name of a stream -> images that were drawn before the stage.
        lr_factor: Factor of the learning rate.
    """

    first: int
    last: int
    crop: tuple[int, int] | None
    batches: dict[str, int]
    draws: dict[str, int]
    lr_factor: float = 1.0


def plan_stages(
    stages: Sequence[StageSettings], data: DataSettings, training: TrainingSettings, images: int
) -> tuple[Stage, ...]:
    """The stages of a run in order, by the number of its labeled images; at least one."""
    accumulate = training.accumulate
    steps = _steps(stages, accumulate, images) or [training.iterations]
    factors = [stage.lr_factor for stage in stages] or [1.0]
    draws = dict.fromkeys(data.batches, 0)
    planned: list[Stage] = []
    first = 0
    for own, taken, factor in zip(data_by_stage(data, stages), steps, factors, strict=True):
        planned.append(Stage(first, first + taken, own.crop, own.batches, draws, factor))
        parts = taken * accumulate
        draws = {name: drawn + parts * own.batches[name] for name, drawn in draws.items()}
        first += taken
    return tuple(planned)


def data_by_stage(data: DataSettings, stages: Sequence[StageSettings]) -> list[DataSettings]:
    """The section with crop and batches of each stage; as it is where a run has none."""
    return [
        dataclasses.replace(
            data,
            crop=stage.crop,
            batch_labeled=stage.batch,
            # Where these are no whole numbers and a method uses them, they are refused before.
            batch_unlabeled=max(1, stage.batch * data.batch_unlabeled // data.batch_labeled),
            batch_target=max(1, stage.batch * data.batch_target // data.batch_labeled),
        )
        for stage in stages
    ] or [data]


def of_one_stage(settings: Settings, number: int) -> Settings:
    """The settings with crop and batches of one stage (-1 is the last) throughout the run."""
    if not settings.stages:
        return settings
    data = data_by_stage(settings.data, settings.stages)[number]
    return dataclasses.replace(settings, data=data, stages=())


def staged(schedule: Schedule, stages: tuple[Stage, ...]) -> Schedule:
    """A schedule whose values are multiplied by the factor of the step's stage."""
    if all(stage.lr_factor == 1 for stage in stages):
        return schedule
    return lambda step: (
        schedule(step) * next(stage.lr_factor for stage in stages if step < stage.last)
    )


def steps_per_epoch(images: int, batch: int, accumulate: int) -> int:
    """Optimizer steps of one pass over labeled images, each of ``accumulate`` batches."""
    return -(-images // (batch * accumulate))


def _steps(stages: Sequence[StageSettings], accumulate: int, images: int) -> list[int]:
    return [stage.epochs * steps_per_epoch(images, stage.batch, accumulate) for stage in stages]


def epochs_in_steps(settings: Settings, images: int) -> Settings:
    """The settings with the numbers of steps that follow from epochs of some labeled images.

    Warm-up is counted in epochs of the first stage.

    Raises:
        ConfigError: The warm-up is not shorter than the run.
    """
    training, schedule = settings.training, settings.schedule
    if training.epochs is None and schedule.warmup_epochs is None and not settings.stages:
        return settings
    batch = settings.stages[0].batch if settings.stages else settings.data.batch_labeled
    per_epoch = steps_per_epoch(images, batch, training.accumulate)
    iterations, warmup = training.iterations, schedule.warmup_steps
    named = "schedule.warmup_steps"
    if settings.stages:
        iterations = sum(_steps(settings.stages, training.accumulate, images))
    elif training.epochs is not None:
        iterations = training.epochs * per_epoch
    if schedule.warmup_epochs is not None:
        named = f"schedule.warmup_epochs {schedule.warmup_epochs:g}:"
        # Not more than the run has, so that any number can be rounded.
        warmup = round(min(schedule.warmup_epochs * per_epoch, iterations))
    for path, steps in settings.options.items():
        if path.endswith(".warmup_steps") and steps >= iterations:
            raise ConfigError(f"{path} {steps} must be below the {iterations} steps of training")
    if warmup >= iterations:
        raise ConfigError(
            f"{named} {warmup} steps of warm-up must be below the {iterations} steps of training; "
            f"an epoch of {images} labeled images has {per_epoch} steps"
        )
    return dataclasses.replace(
        settings,
        training=dataclasses.replace(training, iterations=iterations),
        schedule=dataclasses.replace(schedule, warmup_steps=warmup),
    )
