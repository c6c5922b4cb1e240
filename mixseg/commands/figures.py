"""Figures of data sets and runs."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mixseg.analysis.figures import FIGURES
from mixseg.analysis.figures.figure import OPENING
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.commands.parsing import Namespace, Parser, listed
from mixseg.config.values import FlagType
from mixseg.errors import ConfigError, unknown_name
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import new_console, progress_bar, say

FLAGS = {name: flag for kind in FIGURES.values() for name, flag in kind.flags.items()}
"""Name -> flag of single figures."""


def figures(arguments: Sequence[str]) -> int:
    """``mixseg figures``."""
    parsed = _parser().read(arguments)
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
    typed = {name: getattr(parsed, name.replace("-", "_")) for name in FLAGS}
    typed = {name: value for name, value in typed.items() if value is not None}
    _check_flags(names, parsed, typed)
    for name, value in typed.items():
        if isinstance(value, list) and isinstance(value[0], tuple):  # each word may hold several
            typed[name] = tuple(chain.from_iterable(value))
    if not plots_installed():
        raise ConfigError(WITHOUT_PLOTS)

    folder = Path(parsed.output).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be made: {error.strerror}") from error
    endings = {name: ["png", "csv", *["svg"] * FIGURES[name].is_chart] for name in names}
    files = [folder / f"{name}.{ending}" for name in names for ending in endings[name]]
    check_unused(files, overwrite=parsed.overwrite)

    from mixseg.analysis.figures.opening import open_given

    for name in names:
        kind = FIGURES[name]
        own = {flag.replace("-", "_"): typed[flag] for flag in kind.flags if flag in typed}
        opening = {argument: own.pop(argument) for argument in OPENING if argument in own}
        with progress_bar(console, name) as advance:
            given = open_given(
                kind,
                runs=[Path(path).expanduser() for path in parsed.runs],
                names=parsed.dataset,
                roots=parsed.roots,
                split=parsed.split,
                device=parsed.device,
                advance=advance,
                **opening,
            )
            contents = kind.draw(given, **own).files()
        for ending in endings[name]:
            write_atomically(folder / f"{name}.{ending}", contents[ending])
            say(console, str(folder / f"{name}.{ending}"))
    return 0


def _parser() -> Parser:
    parser = Parser(
        "mixseg figures",
        "Draw figures of data sets and runs: a PNG, an SVG where it is a chart, and the numbers as "
        "CSV beside it. Without a name, or with --list, the figures are listed.",
    )
    add = parser.add
    many: dict[str, Any] = {"action": "extend", "nargs": "+"}
    add("names", "figures to draw", nargs="*")
    add("--list", "list the figures", action="store_true")
    add("--dataset", "[demo, or the data of the run]", **many, default=[], metavar="NAME")
    add("--data-root", "one per data set", **many, default=[], dest="roots", metavar="DIR")
    add("--split", "[train; the validation split of a run]")
    add("--run", "runs, or checkpoints", **many, default=[], dest="runs", metavar="RUN")
    add("--output", "is made if it is not there", default="figures", metavar="DIR")
    add("--overwrite", "replace files that exist", action="store_true")
    add("--device", "auto, cpu, cuda or cuda:N", default="auto")
    for name, flag in FLAGS.items():
        takers = _takers(name)
        about = [*(takers if len(takers) == 1 else ()), *filter(None, [flag.help])]
        is_list = typing.get_origin(flag.hint) is tuple
        plain = flag.hint in (str | None, tuple[str, ...])
        kind = str if plain else FlagType(f"--{name}", flag.hint, flag.allowed)
        add(f"--{name}", ": ".join(about), kind, **(many if is_list else {}))
    return parser


def _takers(flag: str) -> list[str]:
    return [name for name, kind in FIGURES.items() if flag in kind.flags]


def _check_flags(names: Sequence[str], parsed: Namespace, typed: Mapping[str, Any]) -> None:
    """Refuse a flag that no figure of the command takes: whoever types it means it to act."""
    kinds = [FIGURES[name] for name in names]
    shown = ", ".join(names)
    for flag in typed:
        if not any(flag in kind.flags for kind in kinds):
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
