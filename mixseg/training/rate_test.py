"""What a learning-rate range test is run on: the data, the network and the method of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from mixseg.config import ScheduleSettings, Settings
from mixseg.data.streams import Batch
from mixseg.distillation.teachers import find_teacher, fixed_teacher
from mixseg.engine.learner import Learner
from mixseg.engine.stages import of_one_stage, plan_stages
from mixseg.errors import ConfigError
from mixseg.training.checks import check_settings
from mixseg.training.compose import compose_learner, with_frequencies
from mixseg.training.data import open_training_data
from mixseg.training.names import run_name, unused_name
from mixseg.training.streams import build_streams


def prepare_range_test(
    settings: Settings, console: Console, steps: int, on_step: Callable[[int, int], None]
) -> tuple[Learner, Iterator[list[dict[str, Batch]]], Path]:
    """What learns, its batches, and the folder for the result, which is not there yet.

    Args:
        settings: Of a run; its length and schedule do not count, and of its stages only the first
            one does.
        console: For messages.
        steps: Number of steps of the test.
        on_step: Called with the number of steps begun and of all.
    """
    output = Path(settings.output).expanduser()
    name = settings.name or unused_name(output, f"find-lr-{run_name(settings)}")
    folder = output / name
    if folder.exists():
        raise ConfigError(f"{folder} is already there; give another --name")
    settings = dataclasses.replace(
        of_one_stage(settings, 0),
        training=dataclasses.replace(settings.training, iterations=steps, epochs=None),
        schedule=ScheduleSettings(name="constant"),
        adversarial=dataclasses.replace(settings.adversarial, schedule="same", warmup_steps=0),
    )
    expert = find_teacher(settings, console)
    check_settings(settings)
    data = open_training_data(settings, console)
    data = with_frequencies(settings, data, console)
    teacher = None if expert is None else fixed_teacher(expert, data.classes)
    learner = compose_learner(settings, data, console, teacher)
    stages = plan_stages(settings, len(data.split.labeled))
    streams = build_streams(settings, data, stages, learner.method)
    accumulate = settings.training.accumulate
    batches = {name: stream(0, steps * accumulate) for name, stream in streams.items()}

    def micro_batches() -> Iterator[list[dict[str, Batch]]]:
        for step in range(steps):
            on_step(step, steps)
            yield [{name: next(one) for name, one in batches.items()} for _ in range(accumulate)]

    return learner, micro_batches(), folder
