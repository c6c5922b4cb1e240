"""Learning-rate factors as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

from mixseg.config import ScheduleSettings
from mixseg.errors import ConfigError, unknown_name

Schedule = Callable[[int], float]
"""Step, counted from 0 -> factor of the learning rate in [0, 1], or momentum."""


def poly(settings: ScheduleSettings, total: int) -> Schedule:
    """(1 - k / k_max)^power (Tranheden & Olsson, eq. 2.6), after the warm-up."""
    start = settings.warmup_steps
    return lambda step: (1 - max(0, step - start) / (total - start)) ** settings.power


def cosine(settings: ScheduleSettings, total: int) -> Schedule:
    """Half a cosine from 1 to 0, after the warm-up."""
    start = settings.warmup_steps
    return lambda step: 0.5 * (1 + math.cos(math.pi * max(0, step - start) / (total - start)))


RISING = 0.3
"""Share of the steps of one-cycle in which the rate rises."""


def one_cycle(settings: ScheduleSettings, total: int) -> Schedule:
    """Up from 1/25 to 1 in the first 30 % of the steps and down to almost 0, along cosines."""
    return cycle(1 / 25, 1, 1 / 250_000, total)


def momentum_cycle(settings: ScheduleSettings, total: int) -> Schedule | None:
    """Momentum at each step of one-cycle, lowest where the rate is highest; None stays as it is."""
    if settings.momentum is None:
        return None
    low, high = settings.momentum
    return cycle(high, low, high, total)


def cycle(first: float, middle: float, last: float, total: int) -> Schedule:
    """From one value to another and to a third, along cosines."""
    peak = max(1.0, RISING * total)

    def between(start: float, end: float, progress: float) -> float:
        return start + (end - start) * 0.5 * (1 - math.cos(math.pi * progress))

    def value(step: int) -> float:
        if step < peak:
            return between(first, middle, step / peak)
        return between(middle, last, (step - peak) / max(1.0, total - peak))

    return value


def constant(settings: ScheduleSettings, total: int) -> Schedule:
    """Always 1."""
    return lambda step: 1.0


SCHEDULES: dict[str, Callable[[ScheduleSettings, int], Schedule]] = {
    "poly": poly,
    "cosine": cosine,
    "one-cycle": one_cycle,
    "constant": constant,
}
"""Name -> schedule from its settings and the number of steps. Add an entry to add a schedule."""


def build_schedule(settings: ScheduleSettings, total: int) -> Schedule:
    """The schedule that the settings name, with linear warm-up in front of it.

    Raises:
        ConfigError: There is none of that name, or it takes no warm-up.
    """
    if settings.name not in SCHEDULES:
        raise ConfigError(f"schedule.name: {unknown_name('schedule', settings.name, SCHEDULES)}")
    if settings.name == "one-cycle" and (settings.warmup_steps or settings.warmup_epochs):
        given = "warmup_epochs" if settings.warmup_epochs else "warmup_steps"
        raise ConfigError(f"schedule.{given} does nothing with one-cycle, which has its own")
    schedule, warmup = SCHEDULES[settings.name](settings, total), settings.warmup_steps
    if not warmup:
        return schedule
    return lambda step: min(1.0, (step + 1) / (warmup + 1)) * schedule(step)
