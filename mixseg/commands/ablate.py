"""The rows of a table, each trained with several seeds."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixseg.ablation.cluster import SETTINGS, SlurmArray
from mixseg.ablation.dry_run import describe
from mixseg.ablation.grid import Grid, choose_rows, load_grid
from mixseg.ablation.local import train_here
from mixseg.ablation.overrides import with_overrides
from mixseg.ablation.report import terminal_tables, write_report
from mixseg.ablation.results import collect
from mixseg.ablation.runs import Errors, check_common_flags, check_files, plan, unlike_data
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.commands.contract import EXIT_ERROR
from mixseg.commands.parsing import (
    ArgumentParser,
    Namespace,
    import_first,
    listed,
    new_parser,
    parse,
)
from mixseg.commands.presets import configuration_file, presets_folder
from mixseg.commands.settings_arguments import add_set_argument, without_effect
from mixseg.config.flags import add_settings_arguments, typed_overrides
from mixseg.config.values import FlagType, Range
from mixseg.errors import ConfigError, MixsegError, unknown_name
from mixseg.plugins import import_recorded
from mixseg.strict_yaml import load_yaml
from mixseg.terminal import new_console, say, show

LAUNCHERS = {"local": "processes of this machine", "slurm": "an array job"}
"""Name -> how the runs of an ablation are started."""


def ablate(arguments: Sequence[str]) -> int:
    """Train the rows of a table with several seeds; see ``--help``."""
    if any(argument.partition("=")[0] == "--config" for argument in arguments):
        raise ConfigError("--config: an ablation takes the preset of its rows by --base FILE")
    import_first(arguments)
    parsed = parse(_ablation_parser(), arguments)
    console = new_console()
    grid = _grid(parsed)
    common = _common_overrides(parsed, grid)
    stem = Path(parsed.grid).stem
    folder = Path(str(common.pop("output", Path("runs") / stem))).expanduser()
    cluster = _cluster(parsed, folder)
    seeds = parsed.seeds or grid.seeds
    jobs = plan(grid, folder, range(seeds), common, allow_changes=parsed.allow_changes)
    grid = with_overrides(grid, common, seeds)
    for line in without_effect(check_common_flags(jobs, common), "any row"):
        say(console, line)
    if not parsed.dry_run:
        check_files(jobs)
    folder.mkdir(parents=True, exist_ok=True)

    def say_line(line: str) -> None:
        say(console, line)

    errors: Errors = {}
    try:
        if cluster is not None:
            cluster.submit(jobs, say_line, dry=parsed.dry_run)
        if parsed.dry_run:
            for job in jobs:
                job.prepare()
            for line in describe(grid, jobs, common):
                say_line(line)
            return 0
        if cluster is None:
            errors = train_here(jobs, parsed.jobs or 1, say_line)
        elif not parsed.no_wait:
            errors = cluster.wait(jobs, say_line)
        elif not all(job.done for job in jobs):
            say_line(cluster.advice)
    except BlockingIOError as error:
        raise MixsegError(f"{folder}: another call is submitting these runs") from error
    except KeyboardInterrupt:
        said = "stopped; the same command goes on with it" if cluster is None else cluster.advice
        say_line(said)
        return 130
    results = collect(grid, jobs, errors)
    # Here again: the data may have changed while the rows were trained.
    grid = replace(grid, overrides=(*grid.overrides, *unlike_data(jobs)))
    files = write_report(folder, grid, results)
    for table in terminal_tables(grid, results):
        show(console, table)
    say_line(f"{folder}: {', '.join(files)}")
    if not plots_installed():
        say_line(WITHOUT_PLOTS)
    return EXIT_ERROR if errors else 0


def _ablation_parser() -> ArgumentParser:
    parser = new_parser(
        "mixseg ablate",
        "Train every row of a grid with several seeds, one process each, and print the table. "
        "Finished runs are kept: the same command goes on where it stopped. Setting flags, such as "
        "--data-root, hold for all rows.",
    )
    parser.add_argument("grid", type=str, help="a file of configs/ablations")
    parser.add_argument(
        "--seeds",
        type=FlagType("--seeds", int, Range(1, 10_000)),
        metavar="N",
        help="seeds 0 to N - 1 [the grid's]",
    )
    parser.add_argument(
        "--jobs",
        type=FlagType("--jobs", int, Range(1, 10_000)),
        metavar="N",
        help="runs at a time: locally they share the cores [1], a cluster decides [all]",
    )
    parser.add_argument("--base", type=str, metavar="FILE", help="preset in place of the grid's")
    parser.add_argument(
        "--rows",
        type=str,
        action="extend",
        nargs="+",
        metavar="NAME",
        help="some of the rows, and those that they are compared with",
    )
    parser.add_argument(
        "--allow-changes",
        dest="allow_changes",
        action="store_true",
        help="go on although the data have changed since an earlier call; the table says so",
    )
    parser.add_argument(
        "--dry-run",
        dest="dry_run",
        action="store_true",
        help="print how each row differs, write the file of each run and print its command; train "
        "nothing",
    )
    _add_launcher_arguments(parser)
    add_set_argument(parser)
    add_settings_arguments(parser)
    return parser


def _grid(parsed: Namespace) -> Grid:
    """The rows that were asked for."""
    if not Path(parsed.grid).is_file():
        folder = presets_folder() / "ablations"
        there = ", ".join(sorted(one.name for one in folder.glob("*.yaml")))
        raise ConfigError(f"{parsed.grid}: there is no such grid; those of {folder} are {there}")
    grid = load_grid(
        Path(parsed.grid), None if parsed.base is None else configuration_file(parsed.base)
    )
    if parsed.rows is None:
        return grid
    names = {row.name for row in grid.rows}  # one may have a comma
    rows = [one for row in parsed.rows for one in ([row] if row in names else listed(row))]
    return choose_rows(grid, rows)


def _common_overrides(parsed: Namespace, grid: Grid) -> dict[str, Any]:
    """Settings of all rows, by flags; what tells the runs apart is refused."""
    common = typed_overrides(parsed, parsed.assignments)
    for key in ("seed", "name"):
        if key in common:
            raise ConfigError(f"--{key}: an ablation gives each run its own; see --seeds")
    own = import_recorded(load_yaml(grid.base).data.get("imports"), str(grid.base))
    if imports := (*own, *parsed.import_names):
        common["imports"] = tuple(dict.fromkeys(imports))
    return common


def _add_launcher_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--launcher",
        type=str,
        default="local",
        help="; ".join(f"{name}: {what}" for name, what in LAUNCHERS.items()),
    )
    parser.add_argument(
        "--no-wait",
        dest="no_wait",
        action="store_true",
        help="with --launcher slurm: submit and return; the same command without it collects",
    )
    for name, (kind, allowed, default, about) in SETTINGS.items():
        flag = f"--slurm.{name}"
        shown = "none" if default is None else str(default).lower()
        parser.add_argument(
            flag, type=FlagType(flag, kind, allowed), default=SUPPRESS, help=f"{about} [{shown}]"
        )


def _cluster(parsed: Namespace, folder: Path) -> SlurmArray | None:
    """The array job, or None where the runs are processes; flags of the other are refused."""
    if parsed.launcher not in LAUNCHERS:
        raise ConfigError(f"--launcher: {unknown_name('launcher', parsed.launcher, LAUNCHERS)}")
    typed = vars(parsed)
    given = {name: typed[f"slurm.{name}"] for name in SETTINGS if f"slurm.{name}" in typed}
    if parsed.launcher == "slurm":
        flags = {name: default for name, (_, _, default, _) in SETTINGS.items()} | given
        return SlurmArray(folder, flags, parsed.jobs)
    idle = [*(f"--slurm.{name}" for name in given), *(["--no-wait"] if parsed.no_wait else [])]
    if idle:
        raise ConfigError(f"{idle[0]} does nothing without --launcher slurm")
    return None
