"""A learning-rate range test on the data, the network and the method of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from mixseg.config.schema import to_flat
from mixseg.config.sections import ScheduleSettings, Settings
from mixseg.data.streams import Batch
from mixseg.errors import ConfigError
from mixseg.models import model_title
from mixseg.training.build import learner_of_run
from mixseg.training.checks import check_settings
from mixseg.training.data import RunData
from mixseg.training.loop import Learner
from mixseg.training.run import run_name, unused_name
from mixseg.training.stages import of_one_stage, plan_stages
from mixseg.training.streams import build_streams
from mixseg.training.teachers import find_teacher, fixed_teacher


def prepare_range_test(
    settings: Settings, steps: int, on_step: Callable[[int, int], None]
) -> tuple[Learner, Iterator[list[dict[str, Batch]]], Path]:
    """Network and optimizer, the batches, and the folder for the result, which is not there yet.

    The length and the schedule of a run do not count, and of its stages only the first does;
    ``on_step`` is called with the number of steps begun and of all.
    """
    output = Path(settings.output).expanduser()
    own = run_name(to_flat(settings), model_title(settings.model))
    name = settings.name or unused_name(output, f"find-lr-{own}")
    folder = output / name
    if folder.exists():
        raise ConfigError(f"{folder} is already there; give another --name")
    settings = dataclasses.replace(
        of_one_stage(settings, 0),
        training=dataclasses.replace(settings.training, iterations=steps, epochs=None),
        schedule=ScheduleSettings(name="constant"),
        options={
            path: {"schedule": "same", "warmup_steps": 0}.get(path.rpartition(".")[2], value)
            for path, value in settings.options.items()
        },
    )
    found = find_teacher(to_flat(settings))
    check_settings(settings)
    run_data = RunData(settings)
    data = run_data.with_counts(run_data.training())
    teacher = None if found is None else fixed_teacher(found, data.classes)
    learner = learner_of_run(settings, data, teacher)
    accumulate = settings.training.accumulate
    stages = plan_stages((), settings.data, settings.training, len(data.split.labeled))
    streams = build_streams(
        data,
        settings.labeled_section,
        settings.data,
        stages,
        learner.method,
        settings.sampling,
        seed=settings.seed,
        accumulate=accumulate,
    )
    batches = {name: stream(0, steps * accumulate) for name, stream in streams.items()}

    def micro_batches() -> Iterator[list[dict[str, Batch]]]:
        for step in range(steps):
            on_step(step, steps)
            yield [{name: next(one) for name, one in batches.items()} for _ in range(accumulate)]

    return learner, micro_batches(), folder
