"""A learning-rate range test with the parts of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from mixseg.analysis.learning_rates import RangeTest, range_test, range_test_csv
from mixseg.analysis.plots import plots_installed
from mixseg.config import ScheduleSettings, Settings
from mixseg.data.streams import Batch
from mixseg.distillation.teachers import find_teacher, fixed_teacher
from mixseg.errors import ConfigError
from mixseg.files import write_atomically
from mixseg.training.build import learner_of_run
from mixseg.training.checks import check_settings
from mixseg.training.data import open_training_data, with_frequencies
from mixseg.training.names import run_name, unused_name
from mixseg.training.stages import of_one_stage, plan_stages
from mixseg.training.streams import build_streams


def probe_rates(
    settings: Settings,
    low: float,
    high: float,
    steps: int,
    on_step: Callable[[int, int], None],
) -> tuple[RangeTest, Path]:
    """A learning-rate range test with the data, the network and the method of a run.

    Args:
        settings: Of a run; its length and schedule are without meaning, and of its stages the first
            one counts.
        low: First rate of the backbone.
        high: Last rate.
        steps: From one to the other.
        on_step: Called with the number of steps begun and of all.

    Returns:
        The test, and the folder that got its numbers, and its curve where matplotlib is installed.
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
    found = find_teacher(settings)
    check_settings(settings)
    data = open_training_data(settings)
    data = with_frequencies(settings, data)
    teacher = None if found is None else fixed_teacher(found, data.classes)
    learner = learner_of_run(settings, data, teacher)
    stages = plan_stages(settings, len(data.split.labeled))
    streams = build_streams(settings, data, stages, learner.method)
    accumulate = settings.training.accumulate
    batches = {name: stream(0, steps * accumulate) for name, stream in streams.items()}

    def micro_batches() -> Iterator[list[dict[str, Batch]]]:
        for step in range(steps):
            on_step(step, steps)
            yield [{name: next(one) for name, one in batches.items()} for _ in range(accumulate)]

    test = range_test(learner, micro_batches(), low, high, steps)
    folder.mkdir(parents=True)
    write_atomically(folder / "learning_rate.csv", range_test_csv(test))
    if plots_installed():
        # Here, because matplotlib takes time to import and may be missing.
        from mixseg.analysis.charts import range_test_chart

        write_atomically(folder / "learning_rate.png", range_test_chart(test))
    return test, folder
