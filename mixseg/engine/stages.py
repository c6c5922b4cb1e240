"""Progressive scaling: stages with growing crops and shrinking batches (Lourenço, III.D)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import final

from mixseg.config import Settings
from mixseg.engine.epochs import stage_steps
from mixseg.engine.schedules import Schedule


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


def plan_stages(settings: Settings, images: int) -> tuple[Stage, ...]:
    """The stages of a run in order; one for all of it where the settings name none.

    Args:
        settings: Of the run, its length in steps.
        images: Number of labelled images.
    """
    steps = stage_steps(settings, images) or (settings.training.iterations,)
    draws = {"labeled": 0, "unlabeled": 0}
    planned: list[Stage] = []
    first = 0
    for number, taken in enumerate(steps):
        data = of_one_stage(settings, number).data
        batches = {"labeled": data.batch_labeled, "unlabeled": data.batch_unlabeled}
        factor = settings.stages[number].lr_factor if settings.stages else 1.0
        planned.append(Stage(first, first + taken, data.crop, batches, draws, factor))
        parts = taken * settings.training.accumulate
        draws = {name: drawn + parts * batches[name] for name, drawn in draws.items()}
        first += taken
    return tuple(planned)


def of_one_stage(settings: Settings, number: int) -> Settings:
    """The settings of a run that has crop and batches of one of its stages throughout.

    Args:
        settings: They stay as they are if they name no stages.
        number: Index of the stage; -1 is the last.
    """
    if not settings.stages:
        return settings
    stage, data = settings.stages[number], settings.data
    data = dataclasses.replace(
        data,
        crop=stage.crop,
        batch_labeled=stage.batch,
        # Where this is no whole number and a method uses it, the settings are refused before.
        batch_unlabeled=max(1, stage.batch * data.batch_unlabeled // data.batch_labeled),
    )
    return dataclasses.replace(settings, data=data, stages=())


def staged(schedule: Schedule, stages: tuple[Stage, ...]) -> Schedule:
    """A schedule whose values are multiplied by the factor of the step's stage."""
    if all(stage.lr_factor == 1 for stage in stages):
        return schedule
    return lambda step: (
        schedule(step) * next(stage.lr_factor for stage in stages if step < stage.last)
    )
