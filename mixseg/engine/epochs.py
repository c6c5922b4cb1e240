"""Lengths in epochs as numbers of steps."""

from __future__ import annotations

import dataclasses

from mixseg.config import Settings
from mixseg.errors import ConfigError


def steps_per_epoch(settings: Settings, images: int, batch: int | None = None) -> int:
    """Optimizer steps of one pass over the labelled images.

    Args:
        settings: Whose batches are taken.
        images: Number of labelled images.
        batch: In place of the settings' ``data.batch_labeled``.
    """
    return -(-images // ((batch or settings.data.batch_labeled) * settings.training.accumulate))


def stage_steps(settings: Settings, images: int) -> tuple[int, ...]:
    """Optimizer steps of each stage of a run that has stages.

    Args:
        settings: Of the run.
        images: Number of labelled images.
    """
    return tuple(
        stage.epochs * steps_per_epoch(settings, images, stage.batch) for stage in settings.stages
    )


def epochs_in_steps(settings: Settings, images: int) -> Settings:
    """The settings with the numbers of steps that follow from epochs; others stay as they are.

    Args:
        settings: Of a run; ``training.epochs``, ``stages`` and ``schedule.warmup_epochs`` are kept.
            Warm-up is counted in epochs of the first stage.
        images: Number of labelled images.

    Raises:
        ConfigError: The warm-up is not shorter than the run.
    """
    training, schedule = settings.training, settings.schedule
    if training.epochs is None and schedule.warmup_epochs is None and not settings.stages:
        return settings
    first = settings.stages[0].batch if settings.stages else None
    per_epoch = steps_per_epoch(settings, images, first)
    iterations, warmup = training.iterations, schedule.warmup_steps
    named = "schedule.warmup_steps"
    if settings.stages:
        iterations = sum(stage_steps(settings, images))
    elif training.epochs is not None:
        iterations = training.epochs * per_epoch
    if schedule.warmup_epochs is not None:
        named = f"schedule.warmup_epochs {schedule.warmup_epochs:g}:"
        # Not more than the run has, so that any number can be rounded.
        warmup = round(min(schedule.warmup_epochs * per_epoch, iterations))
    if settings.adversarial.warmup_steps >= iterations:
        raise ConfigError(
            f"adversarial.warmup_steps {settings.adversarial.warmup_steps} must be below the "
            f"{iterations} steps of training"
        )
    if warmup >= iterations:
        raise ConfigError(
            f"{named} {warmup} steps of warm-up must be below the {iterations} steps of training; "
            f"an epoch of {images} labelled images has {per_epoch} steps"
        )
    return dataclasses.replace(
        settings,
        training=dataclasses.replace(training, iterations=iterations),
        schedule=dataclasses.replace(schedule, warmup_steps=warmup),
    )
