"""Regularizers: further terms of the loss, for any method."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mixseg.config import ScheduleSettings, Settings
from mixseg.errors import ConfigError, unknown_name
from mixseg.losses import build_adversarial_loss
from mixseg.models import Discriminator
from mixseg.randomness import derive_seed
from mixseg.regularizers.adversarial_temperature import AdversarialTemperature
from mixseg.regularizers.regularizer import Regularizer
from mixseg.training.precision import Precision
from mixseg.training.schedules import SCHEDULES, build_schedule


def _adversarial_temperature(
    settings: Settings, num_classes: int, precision: Precision
) -> Regularizer:
    # A generator of its own: a run must not change otherwise because it is regularized.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(settings.seed, "discriminator"))
        discriminator = Discriminator(num_classes)
    discriminator.to(precision.device)
    if settings.training.channels_last:
        discriminator.to(memory_format=torch.channels_last)
    return AdversarialTemperature(
        discriminator,
        settings.adversarial,
        build_schedule(_schedule(settings), settings.training.iterations),
        bf16=precision.name == "bf16",
    )


REGULARIZERS: dict[str, Callable[[Settings, int, Precision], Regularizer]] = {
    "adversarial-temperature": _adversarial_temperature,
}
"""Name -> regularizer from settings, number of classes and precision."""

NO_REGULARIZER = "none"
SAME = "same"
"""The discriminator's schedule is the student's."""


def check_regularizer(settings: Settings) -> None:
    """Refuse unknown names before any data is read."""
    known = (NO_REGULARIZER, *REGULARIZERS)
    if settings.regularizer not in known:
        message = unknown_name("regularizer", settings.regularizer, known)
        raise ConfigError(f"regularizer: {message}")
    own = settings.adversarial
    build_adversarial_loss(own.loss)
    schedules = (SAME, *SCHEDULES)
    if own.schedule not in schedules:
        message = unknown_name("schedule", own.schedule, schedules)
        raise ConfigError(f"adversarial.schedule: {message}")
    if own.warmup_steps and own.schedule in (SAME, "one-cycle"):
        raise ConfigError(
            f"adversarial.warmup_steps does nothing with adversarial.schedule {own.schedule}; give "
            "poly, cosine or constant"
        )


def build_regularizers(
    settings: Settings, num_classes: int, precision: Precision
) -> tuple[Regularizer, ...]:
    """The regularizer that the settings name, or none at all."""
    check_regularizer(settings)
    if settings.regularizer == NO_REGULARIZER:
        return ()
    return (REGULARIZERS[settings.regularizer](settings, num_classes, precision),)


def _schedule(settings: Settings) -> ScheduleSettings:
    own = settings.adversarial
    if own.schedule == SAME:
        return settings.schedule
    return ScheduleSettings(own.schedule, settings.schedule.power, own.warmup_steps)


__all__ = [
    "NO_REGULARIZER",
    "REGULARIZERS",
    "AdversarialTemperature",
    "build_regularizers",
    "check_regularizer",
]
