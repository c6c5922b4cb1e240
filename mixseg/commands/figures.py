"""Figures of data sets and runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mixseg.analysis.plots import WITHOUT_PLOTS, plots_installed
from mixseg.commands.parsing import ArgumentParser, listed, new_parser, parse
from mixseg.config.values import SEEDS, FlagType, Range
from mixseg.errors import ConfigError
from mixseg.terminal import new_console, say

NUMBERS = {
    "sigmas": (Range(0.1, 10_000), "cow-masks: in pixels of a 512x1024 image"),
    "temperatures": (Range(0.01, 10_000), "temperatures: [0.5 1 2]"),
    "logits": (Range(-10_000, 10_000), "temperatures: of one pixel, one for each class"),
}
"""Flags that take numbers: their range, and what they say."""

LIST_FLAGS = (
    "--dataset",
    "--data-root",
    "--run",
    "--ids",
    *(f"--{name}" for name in NUMBERS),
)
"""Flags that take several values, and may be given several times."""


def figures(arguments: Sequence[str]) -> int:
    """Draw figures; see ``--help``."""
    parsed = parse(_figures_parser(), arguments)
    if not plots_installed():
        raise ConfigError(WITHOUT_PLOTS)
    # Here, because matplotlib takes time to import and may be missing.
    from mixseg.analysis.figures import FIGURES
    from mixseg.analysis.figures.command import Options, draw_all

    console = new_console()
    if parsed.list or not parsed.names:
        for name, kind in FIGURES.items():
            say(console, f"{name:18} {kind.about}")
        return 0
    given = {key: value for key, value in vars(parsed).items() if value is not None}
    for name in NUMBERS.keys() & given.keys():
        given[name] = [one for several in given[name] for one in several]
    if "dataset" in given:
        given["dataset"] = [name for several in given["dataset"] for name in listed(several)]
    fields = {entry.name for entry in dataclasses.fields(Options)}
    options = Options(**{key: value for key, value in given.items() if key in fields})
    for path in draw_all(options, console):
        say(console, str(path))
    return 0


def _figures_parser() -> ArgumentParser:
    parser = new_parser(
        "mixseg figures",
        "Draw figures of data sets and runs: a PNG, an SVG where it is a chart, and the numbers as "
        "CSV beside it. Without a name, or with --list, the figures are listed.",
    )
    parser.add_argument("names", nargs="*", help="figures to draw")
    parser.add_argument("--list", action="store_true", help="list the figures")
    add = parser.add_argument
    add(
        "--dataset",
        type=str,
        action="extend",
        nargs="+",
        metavar="NAME",
        help="[demo, or the data of the run]",
    )
    add(
        "--data-root",
        dest="roots",
        type=str,
        action="extend",
        nargs="+",
        metavar="DIR",
        help="one per data set",
    )
    add("--split", type=str, help="[train; the validation split of a run]")
    add(
        "--run",
        dest="runs",
        type=str,
        action="extend",
        nargs="+",
        metavar="RUN",
        help="runs, or checkpoints",
    )
    add("--output", type=str, default="figures", metavar="DIR", help="is made if it is not there")
    add("--overwrite", action="store_true", help="replace files that exist")
    add(
        "--seed", type=FlagType("--seed", int, Range(0, SEEDS)), help="chooses images and masks [0]"
    )
    add(
        "--images",
        type=FlagType("--images", int, Range(1, 1000)),
        metavar="N",
        help="how many images to show [4]",
    )
    add(
        "--ids",
        type=str,
        action="extend",
        nargs="+",
        metavar="ID",
        help="images to show [chosen by the seed]",
    )
    add("--source", type=str, help="mixing: what is pasted on the data set [demo-render]")
    add("--source-root", dest="source_root", type=str, metavar="DIR")
    for name, (allowed, about) in NUMBERS.items():
        kind = FlagType(f"--{name}", tuple[float, ...], allowed)
        add(f"--{name}", type=kind, action="extend", nargs="+", help=about)
    add(
        "--threshold",
        type=FlagType("--threshold", float, Range(0, 1)),
        help="confidence: [that of the run]",
    )
    add(
        "--pixel",
        type=FlagType("--pixel", tuple[int, ...], Range(0, 1e6)),
        metavar="ROW,COLUMN",
        help="temperatures: [one in doubt]",
    )
    add(
        "--network",
        choices=("student", "teacher", "average"),
        help="of runs [teacher or average]",
    )
    add("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    return parser
