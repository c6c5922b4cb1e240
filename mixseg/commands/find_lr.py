"""The learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence

from mixseg.analysis.learning_rates import FEWEST, range_test
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.commands.parsing import Parser, any_settings
from mixseg.config.values import Range
from mixseg.errors import ConfigError
from mixseg.files import write_atomically
from mixseg.terminal import new_console, progress_bar, say


def find_lr(arguments: Sequence[str]) -> int:
    """``mixseg find-lr``."""
    parser = Parser(
        "mixseg find-lr",
        "Train for a few steps while the learning rate grows, draw the loss over the rate, and "
        "suggest one. Takes the settings of a training command.",
        settings=True,
    )
    like = parser.add_like
    like("--low", "optimizer.lr", "first rate of the backbone", metavar="RATE", default=1e-6)
    like("--high", "optimizer.lr", "last rate", metavar="RATE", default=1.0)
    parser.add("--steps", "training steps [100]", int, Range(FEWEST, 1e6), default=100)
    parsed = parser.read(arguments)
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
    for line in (
        test.describe(),
        f"numbers: {folder / 'learning_rate.csv'}",
        curve,
        f"next: --optimizer.lr {test.suggestion:.1e}",
    ):
        say(console, line)
    return 0
