"""The learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence

from mixseg.analysis.learning_rates import FEWEST
from mixseg.analysis.plots import WITHOUT_PLOTS, plots_installed
from mixseg.commands.contract import prints_its_result
from mixseg.commands.parsing import new_parser
from mixseg.commands.settings_arguments import add_file_arguments, any_settings, parse_with_settings
from mixseg.config import FlagType, OptimizerSettings, Range, ranges_of
from mixseg.errors import ConfigError
from mixseg.terminal import new_console, progress_bar, say
from mixseg.training.rate_test import probe_rates


@prints_its_result
def find_lr(arguments: Sequence[str]) -> int:
    """Learning-rate range test; see ``--help``."""
    parser = new_parser(
        "mixseg find-lr",
        "Train for a few steps while the learning rate grows, draw the loss over the rate, and "
        "suggest one. Takes the settings of a training command.",
    )
    add_file_arguments(parser)
    rates = ranges_of(OptimizerSettings)["lr"]
    parser.add_argument(
        "--low",
        type=FlagType("--low", float, rates),
        default=1e-6,
        help="first rate of the backbone",
    )
    parser.add_argument(
        "--high", type=FlagType("--high", float, rates), default=1.0, help="last rate"
    )
    parser.add_argument("--steps", type=FlagType("--steps", int, Range(FEWEST, 1e6)), default=100)
    parsed = parse_with_settings(parser, arguments)
    console = new_console()
    if not parsed.low < parsed.high:
        raise ConfigError(
            f"--low and --high must be rates, low < high; found {parsed.low}, {parsed.high}"
        )
    settings = any_settings(parsed)
    with progress_bar(console, "range test") as advance:
        test, folder = probe_rates(settings, parsed.low, parsed.high, parsed.steps, advance)
    end = "the loss ran away after it" if test.diverged else "the loss never ran away; try --high"
    lines = [
        f"suggested learning rate: {test.suggestion:.1e} (steepest {test.rates[test.steepest]:.1e},"
        f" lowest loss at {test.rates[test.lowest]:.1e}; {end})",
        f"numbers: {folder / 'learning_rate.csv'}",
        f"curve: {folder / 'learning_rate.png'}" if plots_installed() else WITHOUT_PLOTS,
        f"next: --optimizer.lr {test.suggestion:.1e}",
    ]
    for line in lines:
        say(console, line)
    return 0
