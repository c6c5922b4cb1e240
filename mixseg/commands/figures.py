"""Figures of data sets and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixseg.analysis.figures import FIGURES
from mixseg.analysis.figures.figure import (
    OPENING,
    FigureKind,
    Given,
    ShownDataset,
    ShownRun,
    chosen,
)
from mixseg.analysis.figures.opening import open_datasets, open_logs, open_networks
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.commands.parsing import ArgumentParser, Namespace, listed, new_parser, parse
from mixseg.errors import ConfigError, unknown_name
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import new_console, progress_bar, say
from mixseg.training.data import RunData, settings_on

FLAGS = {name: flag for kind in FIGURES.values() for name, flag in kind.all_flags.items()}
"""Name -> flag of single figures."""


def figures(arguments: Sequence[str]) -> int:
    """Draw figures; see ``--help``."""
    parsed = parse(_parser(), arguments)
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
    typed = {name: getattr(parsed, flag.argument) for name, flag in FLAGS.items()}
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
        own = {FLAGS[flag].argument: values[flag] for flag in kind.all_flags if flag in values}
        own = {argument: value for argument, value in own.items() if argument not in OPENING}
        with progress_bar(console, name) as advance:
            drawn = kind.draw(_opened(kind, parsed, values, advance), **own)
            contents = drawn.files()
        for ending in endings[name]:
            write_atomically(folder / f"{name}.{ending}", contents[ending])
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
    many: dict[str, Any] = {"action": "extend", "nargs": "+"}
    add("--dataset", **many, default=[], metavar="NAME", help="[demo, or the data of the run]")
    add("--data-root", **many, default=[], dest="roots", metavar="DIR", help="one per data set")
    add("--split", type=str, help="[train; the validation split of a run]")
    add("--run", **many, default=[], dest="runs", metavar="RUN", help="runs, or checkpoints")
    add("--output", type=str, default="figures", metavar="DIR", help="is made if it is not there")
    add("--overwrite", action="store_true", help="replace files that exist")
    add("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    for name, flag in FLAGS.items():
        takers = _takers(name)
        about = [*(takers if len(takers) == 1 else ()), *filter(None, [flag.help])]
        further = {"metavar": flag.metavar, "choices": flag.choices} | (many if flag.many else {})
        add(f"--{name}", type=flag.type, help=": ".join(about), **further)
    return parser


def _takers(flag: str) -> list[str]:
    return [name for name, kind in FIGURES.items() if flag in kind.all_flags]


def _check_flags(names: Sequence[str], parsed: Namespace, typed: Mapping[str, Any]) -> None:
    """Refuse a flag that no figure of the command takes: whoever types it means it to act."""
    kinds = [FIGURES[name] for name in names]
    shown = ", ".join(names)
    for flag in typed:
        if not any(flag in kind.all_flags for kind in kinds):
            takers = ", ".join(_takers(flag))
            raise ConfigError(f"--{flag} does nothing for {shown}; it is for {takers}")
    for name, kind in zip(names, kinds, strict=True):
        fewest, most = kind.runs
        if len(parsed.runs) < fewest:
            raise ConfigError(f"{name} is drawn of a run: give it with --run runs/NAME")
        limits = {"run": (parsed.runs, most), "dataset": (parsed.dataset, kind.datasets)}
        for flag, (given, limit) in limits.items():
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
    values: Mapping[str, Any],
    advance: Callable[[int, int], None],
) -> Given:
    """The data and runs that a figure needs, and no others."""
    runs: Sequence[ShownRun] = ()
    datasets: Sequence[ShownDataset] = ()
    paths = [Path(path).expanduser() for path in parsed.runs]
    if kind.reads == "log":
        runs = open_logs(paths)
    elif kind.reads == "network" and paths:
        runs, saved = open_networks(paths, parsed.network, parsed.device)
        other = (next(iter(parsed.dataset), None), next(iter(parsed.roots), None))
        settings = settings_on(saved.settings, *other)
        dataset, _ = RunData(settings).judged(parsed.split, saved.run)
        datasets = [ShownDataset(settings.data.dataset, dataset)]
    elif kind.datasets and kind.reads != "network":
        names, split = parsed.dataset or ["demo"], parsed.split or "train"
        datasets = open_datasets(names, parsed.roots, split)
    seed, shown = values.get("seed", 0), []
    if kind.images and datasets:
        count = values.get("images", kind.images) if "images" in kind.all_flags else kind.images
        shown = chosen(datasets[0].dataset, count, seed, values.get("ids", ()))
    return Given(datasets, runs, shown, seed, advance)
