"""Figures of data sets and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from mixseg.analysis.figures import FIGURES
from mixseg.analysis.figures.figure import FigureKind, Flag, Given, ShownDataset, ShownRun
from mixseg.analysis.figures.opening import open_datasets, open_logs, open_networks
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.commands.parsing import listed, new_parser, parse, with_joined
from mixseg.engine.progress import progress_bar
from mixseg.errors import ConfigError, unknown_name
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import new_console, say
from mixseg.training.data import open_judged, settings_on

FLAGS: dict[str, Flag] = {flag.name: flag for kind in FIGURES.values() for flag in kind.flags}
"""Flags of single figures."""

REPEATED = ("dataset", "data-root", "run", *(one.name for one in FLAGS.values() if one.many))
"""Flags that take several values, and may be given several times."""


def figures(arguments: Sequence[str]) -> int:
    """Draw figures; see ``--help``."""
    parsed = parse(_parser(), with_joined(arguments, tuple(f"--{name}" for name in REPEATED)))
    if not plots_installed():
        raise ConfigError(WITHOUT_PLOTS)
    console = new_console()
    if parsed.list or not parsed.names:
        for name, kind in FIGURES.items():
            say(console, f"{name:18} {kind.about}")
        return 0
    names = list(dict.fromkeys(parsed.names))
    for name in names:
        if name not in FIGURES:
            raise ConfigError(unknown_name("figure", name, FIGURES))
    parsed.dataset = [name for several in parsed.dataset for name in listed(several)]
    typed = {name: parsed[flag.argument] for name, flag in FLAGS.items()}
    typed = {name: value for name, value in typed.items() if value is not None}
    _check_flags(names, parsed, typed)
    values = {name: FLAGS[name].value(value) for name, value in typed.items()}

    folder = Path(parsed.output).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be made: {error.strerror}") from error
    endings = {name: ["png", "csv", *["svg"] * FIGURES[name].is_chart] for name in names}
    files = [folder / f"{name}.{ending}" for name in names for ending in endings[name]]
    check_unused(files, overwrite=parsed.overwrite)
    for name in names:
        kind = FIGURES[name]
        own = {flag.argument: values[flag.name] for flag in kind.flags if flag.name in values}
        own.pop("network", None)  # is chosen when it is opened
        with progress_bar(console, name) as advance:
            drawn = kind.draw(_opened(kind, parsed, console, advance), **own)
        for ending in endings[name]:
            write_atomically(folder / f"{name}.{ending}", getattr(drawn, ending))
            say(console, str(folder / f"{name}.{ending}"))
    return 0


def _parser() -> ArgumentParser:
    parser = new_parser(
        "mixseg figures",
        "Draw figures of data sets and runs: a PNG, an SVG where it is a chart, and the numbers as "
        "CSV beside it. Without a name, or with --list, the figures are listed.",
    )
    add = parser.add_argument
    add("names", nargs="*", help="figures to draw")
    add("--list", action="store_true", help="list the figures")
    many: dict[str, Any] = {"type": str, "nargs": "+", "default": []}
    add("--dataset", **many, metavar="NAME", help="[demo, or the data of the run]")
    add("--data-root", **many, dest="roots", metavar="DIR", help="one per data set")
    add("--split", type=str, help="[train; the validation split of a run]")
    add("--run", **many, dest="runs", metavar="RUN", help="runs, or checkpoints")
    add("--output", type=str, default="figures", metavar="DIR", help="is made if it is not there")
    add("--overwrite", action="store_true", help="replace files that exist")
    add("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    for name, flag in FLAGS.items():
        takers = _takers(name)
        about = ": ".join(filter(None, (takers if "," not in takers else "", flag.help)))
        further: dict[str, Any] = {"nargs": "+"} if flag.many else {}
        further |= {} if flag.metavar is None else {"metavar": flag.metavar}
        add(f"--{name}", dest=flag.argument, type=flag.type, help=about, **further)
    return parser


def _takers(flag: str) -> str:
    return ", ".join(name for name, kind in FIGURES.items() if kind.takes(flag))


def _check_flags(names: Sequence[str], parsed: Namespace, typed: Mapping[str, Any]) -> None:
    """Refuse a flag that no figure of the command takes: whoever types it means it to act."""
    kinds = [FIGURES[name] for name in names]
    shown = ", ".join(names)
    for flag in typed:
        if not any(kind.takes(flag) for kind in kinds):
            raise ConfigError(f"--{flag} does nothing for {shown}; it is for {_takers(flag)}")
    for name, kind in zip(names, kinds, strict=True):
        fewest, most = kind.runs
        if len(parsed.runs) < fewest:
            raise ConfigError(f"{name} is drawn of a run: give it with --run runs/NAME")
        for flag, given, limit in (
            ("run", parsed.runs, most),
            ("dataset", parsed.dataset, kind.datasets),
        ):
            if limit and len(given) > limit:
                raise ConfigError(f"{name}: --{flag} takes at most {limit}, found {len(given)}")
    if parsed.runs and not any(kind.runs[1] for kind in kinds):
        raise ConfigError(f"--run does nothing for {shown}")
    of_data = {"dataset": parsed.dataset, "data-root": parsed.roots, "split": parsed.split}
    for flag, given in of_data.items():
        if given and not any(kind.datasets for kind in kinds):
            raise ConfigError(f"--{flag} does nothing for {shown}")
    if parsed.roots and not parsed.dataset:
        raise ConfigError("--data-root needs --dataset NAME, to know how the folder is laid out")
    if "logits" in typed and parsed.runs and list(names) == ["temperatures"]:
        raise ConfigError("--logits and --run both say what the logits are; give one of them")


def _opened(
    kind: FigureKind,
    parsed: Namespace,
    console: Console,
    advance: Callable[[int, int], None],
) -> Given:
    """The data and runs that a figure needs, and no others."""
    runs: Sequence[ShownRun] = ()
    datasets: Sequence[ShownDataset] = ()
    paths = [Path(path).expanduser() for path in parsed.runs]
    if kind.reads == "log":
        runs = open_logs(paths)
    elif kind.reads == "network" and paths:
        runs, saved = open_networks(paths, parsed.network or "teacher", parsed.device, console)
        other = (next(iter(parsed.dataset), None), next(iter(parsed.roots), None))
        settings = settings_on(saved.settings, *other)
        dataset, _ = open_judged(settings, parsed.split, console, saved.run)
        datasets = [ShownDataset(settings.data.dataset, dataset)]
    elif kind.datasets and kind.reads != "network":
        names, split = parsed.dataset or ["demo"], parsed.split or "train"
        datasets = open_datasets(names, parsed.roots, split, console)
    return Given(datasets, runs, console, advance)
