"""The learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence

from mixseg.analysis.learning_rates import FEWEST, range_test
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.commands.parsing import add_file_arguments, adder, any_settings, new_parser, parse
from mixseg.config.options import fields_of
from mixseg.config.sections import OptimizerSettings
from mixseg.config.values import Range
from mixseg.errors import ConfigError
from mixseg.files import write_atomically
from mixseg.terminal import new_console, progress_bar, say


def find_lr(arguments: Sequence[str]) -> int:
    """``mixseg find-lr``."""
    parser = new_parser(
        "mixseg find-lr",
        "Train for a few steps while the learning rate grows, draw the loss over the rate, and "
        "suggest one. Takes the settings of a training command.",
    )
    add_file_arguments(parser)
    add = adder(parser)
    rates = next(one.allowed for one in fields_of(OptimizerSettings) if one.path == "lr")
    add("--low", "first rate of the backbone", float, rates, default=1e-6)
    add("--high", "last rate", float, rates, default=1.0)
    add("--steps", "training steps [100]", int, Range(FEWEST, 1e6), default=100)
    parsed = parse(parser, arguments, settings=True)
    if not parsed.low < parsed.high:
        raise ConfigError(
            f"--low and --high must be rates, low < high; found {parsed.low}, {parsed.high}"
        )
    settings = any_settings(parsed)

    from mixseg.training.rate_test import prepare_range_test

    console = new_console()
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
