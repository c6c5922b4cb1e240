"""Learning-rate factors as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, final

from mixseg.config.options import parameters_of
from mixseg.config.values import Range
from mixseg.errors import ConfigError
from mixseg.registry import SCHEDULES

Schedule = Callable[[int], float]
"""Step, counted from 0 -> factor of the learning rate in [0, 1], or momentum."""


@SCHEDULES.register("poly")
def poly(total: int, warmup: int, power: Annotated[float, Range(0.001, 100)] = 0.9) -> Schedule:
    """(1 - k / k_max)^power (Tranheden & Olsson, eq. 2.6), after the warm-up.

    Args:
        power: Exponent.
    """
    return lambda step: (1 - max(0, step - warmup) / (total - warmup)) ** power


@SCHEDULES.register("cosine")
def cosine(total: int, warmup: int) -> Schedule:
    """Half a cosine from 1 to 0, after the warm-up."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / (total - warmup)))


@SCHEDULES.register("constant")
def constant(warmup: int) -> Schedule:
    """Always 1, after the warm-up."""
    return lambda step: 1.0


@SCHEDULES.register("one-cycle")
@final
class OneCycle:
    """Up from 1/25 to 1 in the first 30 % of the steps and down to almost 0, along cosines.

    Attributes:
        momentum: Momentum at each step, lowest where the rate is highest; None leaves it.
    """

    def __init__(
        self,
        total: int,
        momentum: Annotated[tuple[float, float] | None, Range(0, 1, below=True)] = None,
    ) -> None:
        """Choose what else is cycled.

        Args:
            momentum: Momentum falls from the second number to the first while the rate rises, and
                rises again while it falls, for example [0.85, 0.95]; by default it stays at
                optimizer.momentum.
        """
        self.rate = cycle(1 / 25, 1, 1 / 250_000, total)
        self.momentum: Schedule | None = None
        if momentum is not None:
            low, high = momentum
            if low > high:
                raise ConfigError(
                    f"schedule.momentum must be two numbers, low <= high, found {momentum}"
                )
            self.momentum = cycle(high, low, high, total)

    def __call__(self, step: int) -> float:
        """The factor of a step."""
        return self.rate(step)


RISING = 0.3
"""Share of the steps of one-cycle in which the rate rises."""


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


def build_schedule(
    name: str, options: Mapping[str, Any], total: int, warmup: int = 0, section: str = "schedule"
) -> tuple[Schedule, Schedule | None]:
    """The schedule of a name with linear warm-up in front of it, and that of the momentum.

    A ConfigError names the ``section`` that asks for an unknown one, or for warm-up of one without.
    """
    SCHEDULES.check(name, f"{section}.name" if section == "schedule" else f"{section}.schedule")
    if warmup and "warmup" not in parameters_of(SCHEDULES.signature(name)):
        raise ConfigError(f"{section}.warmup_steps does nothing with {name}, which has its own")
    schedule = SCHEDULES.build(name, options, total=total, warmup=warmup)
    momentum: Schedule | None = getattr(schedule, "momentum", None)
    if not warmup:
        return schedule, momentum
    return lambda step: min(1.0, (step + 1) / (warmup + 1)) * schedule(step), momentum
