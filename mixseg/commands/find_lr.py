"""The learning-rate range test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mixseg.analysis.learning_rates import FEWEST, range_test
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.commands.contract import prints_its_result
from mixseg.commands.parsing import new_parser
from mixseg.commands.settings_arguments import add_file_arguments, any_settings, parse_with_settings
from mixseg.config.options import fields_of
from mixseg.config.sections import OptimizerSettings, ScheduleSettings, Settings
from mixseg.config.values import FlagType, Range
from mixseg.data.streams import Batch
from mixseg.errors import ConfigError
from mixseg.files import write_atomically
from mixseg.terminal import new_console, progress_bar, say
from mixseg.training.build import learner_of_run
from mixseg.training.checks import check_settings
from mixseg.training.data import RunData
from mixseg.training.loop import Learner
from mixseg.training.run import run_name, unused_name
from mixseg.training.stages import of_one_stage, plan_stages
from mixseg.training.streams import build_streams
from mixseg.training.teachers import find_teacher, fixed_teacher


@prints_its_result
def find_lr(arguments: Sequence[str]) -> int:
    """Learning-rate range test; see ``--help``."""
    parser = new_parser(
        "mixseg find-lr",
        "Train for a few steps while the learning rate grows, draw the loss over the rate, and "
        "suggest one. Takes the settings of a training command.",
    )
    add_file_arguments(parser)
    rates = next(one.allowed for one in fields_of(OptimizerSettings) if one.path == "lr")
    low, high = (FlagType(flag, float, rates) for flag in ("--low", "--high"))
    parser.add_argument("--low", type=low, default=1e-6, help="first rate of the backbone")
    parser.add_argument("--high", type=high, default=1.0, help="last rate")
    parser.add_argument("--steps", type=FlagType("--steps", int, Range(FEWEST, 1e6)), default=100)
    parsed = parse_with_settings(parser, arguments)
    console = new_console()
    if not parsed.low < parsed.high:
        raise ConfigError(
            f"--low and --high must be rates, low < high; found {parsed.low}, {parsed.high}"
        )
    settings = any_settings(parsed)
    with progress_bar(console, "range test") as advance:
        learner, batches, folder = prepare_range_test(settings, parsed.steps, advance)
        test = range_test(learner, batches, parsed.low, parsed.high, parsed.steps)
    folder.mkdir(parents=True)
    write_atomically(folder / "learning_rate.csv", test.to_csv())
    curve = WITHOUT_PLOTS
    if plots_installed():
        write_atomically(folder / "learning_rate.png", test.chart())
        curve = f"curve: {folder / 'learning_rate.png'}"
    end = "the loss ran away after it" if test.diverged else "the loss never ran away; try --high"
    for line in (
        f"suggested learning rate: {test.suggestion:.1e} (steepest {test.rates[test.steepest]:.1e},"
        f" lowest loss at {test.rates[test.lowest]:.1e}; {end})",
        f"numbers: {folder / 'learning_rate.csv'}",
        curve,
        f"next: --optimizer.lr {test.suggestion:.1e}",
    ):
        say(console, line)
    return 0


def prepare_range_test(
    settings: Settings, steps: int, on_step: Callable[[int, int], None]
) -> tuple[Learner, Iterator[list[dict[str, Batch]]], Path]:
    """What learns, its batches, and the folder for the result, which is not there yet.

    The length and the schedule of a run do not count, and of its stages only the first does;
    ``on_step`` is called with the number of steps begun and of all.
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
        options={
            path: {"schedule": "same", "warmup_steps": 0}.get(path.rpartition(".")[2], value)
            for path, value in settings.options.items()
        },
    )
    found = find_teacher(settings.method, settings.distillation)
    check_settings(settings)
    run_data = RunData(settings)
    data = run_data.with_frequencies(run_data.training())
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

    return learner, micro_batches(), folder
