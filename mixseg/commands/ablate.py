"""The rows of a table, each trained with several seeds."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mixseg.ablation.cluster import SETTINGS, SlurmArray
from mixseg.ablation.dry_run import describe
from mixseg.ablation.grid import Grid, choose_rows, load_grid
from mixseg.ablation.runs import Errors, check_common_flags, plan
from mixseg.charts import WITHOUT_PLOTS, plots_installed
from mixseg.commands.parsing import Namespace, Parser, listed
from mixseg.config.flags import typed_overrides
from mixseg.config.presets import configuration_file, grid_file
from mixseg.config.values import FlagType, Range
from mixseg.config.yaml import load_yaml
from mixseg.errors import ConfigError, MixsegError, unknown_name
from mixseg.plugins import import_recorded
from mixseg.terminal import new_console, say, show

LAUNCHERS = {"local": "processes of this machine", "slurm": "an array job"}
"""Name -> how the runs of an ablation are started."""

ABOUT = (
    "Train every row of a grid with several seeds, one process each, and print the table. Finished "
    "runs are kept: the same command goes on where it stopped. Setting flags, such as --data-root, "
    "hold for all rows."
)


def ablate(arguments: Sequence[str]) -> int:
    """``mixseg ablate``."""
    if any(argument.partition("=")[0] == "--config" for argument in arguments):
        raise ConfigError("--config: an ablation takes the preset of its rows by --base FILE")
    parsed = _parser().read(arguments)
    file = grid_file(parsed.grid)
    grid = _grid(file, None if parsed.base is None else configuration_file(parsed.base), parsed)
    common = _common_overrides(parsed, grid)
    folder = Path(str(common.pop("output", Path("runs") / file.stem))).expanduser()
    cluster = _cluster(parsed, folder)
    seeds = parsed.seeds or grid.seeds
    jobs = plan(grid, folder, range(seeds), common, allow_changes=parsed.allow_changes)
    without_effect = check_common_flags(jobs, common)

    from mixseg.ablation.checks import check_files, check_runs, unlike_data
    from mixseg.ablation.local import train_here
    from mixseg.ablation.overrides import with_overrides
    from mixseg.ablation.report import terminal_tables, write_report
    from mixseg.ablation.results import collect

    console = new_console()
    tell = partial(say, console)
    check_runs(jobs)
    grid = with_overrides(grid, common, seeds)
    for flag in without_effect:
        tell(f"note: {flag} has no effect in any row")
    if not parsed.dry_run:
        check_files(jobs)
    folder.mkdir(parents=True, exist_ok=True)
    errors: Errors = {}
    try:
        if cluster is not None:
            cluster.submit(jobs, tell, dry=parsed.dry_run)
        if parsed.dry_run:
            for job in jobs:
                job.prepare()
            for line in describe(grid, jobs, common):
                tell(line)
            return 0
        if cluster is None:
            errors = train_here(jobs, parsed.jobs or 1, tell)
        elif not parsed.no_wait:
            errors = cluster.wait(jobs, tell)
        elif not all(job.done for job in jobs):
            tell(cluster.advice)
    except BlockingIOError as error:
        raise MixsegError(f"{folder}: another call is submitting these runs") from error
    except KeyboardInterrupt:
        tell("stopped; the same command goes on with it" if cluster is None else cluster.advice)
        return 130
    results = collect(grid, jobs, errors)
    # Here again: the data may have changed while the rows were trained.
    grid = replace(grid, overrides=(*grid.overrides, *unlike_data(jobs)))
    files = write_report(folder, grid, results)
    for table in terminal_tables(grid, results):
        show(console, table)
    tell(f"{folder}: {', '.join(files)}")
    if not plots_installed():
        tell(WITHOUT_PLOTS)
    return 1 if errors else 0


def _parser() -> Parser:
    parser = Parser("mixseg ablate", ABOUT, settings=True, config=False)
    add = parser.add
    add("grid", "a file, or a shipped grid such as mixers")
    add("--seeds", "seeds 0 to N - 1 [the grid's]", int, Range(1, 10_000), metavar="N")
    jobs_help = "runs at a time: locally they share the cores [1], a cluster decides [all]"
    add("--jobs", jobs_help, int, Range(1, 10_000), metavar="N")
    add("--base", "preset in place of the grid's", metavar="FILE")
    rows_help = "some of the rows, and those that they are compared with"
    add("--rows", rows_help, action="extend", nargs="+", metavar="NAME")
    changes_help = "go on although the data have changed since an earlier call; the table says so"
    add("--allow-changes", changes_help, action="store_true")
    dry_help = (
        "print how each row differs, write the file of each run and print its command; train "
        "nothing"
    )
    add("--dry-run", dry_help, action="store_true")
    launchers = "; ".join(f"{name}: {what}" for name, what in LAUNCHERS.items())
    add("--launcher", launchers, default="local")
    wait_help = "with --launcher slurm: submit and return; the same command without it collects"
    add("--no-wait", wait_help, action="store_true")
    for name, (kind, allowed, default, about) in SETTINGS.items():
        shown = "none" if default is None else str(default).lower()
        typed = FlagType(f"--slurm.{name}", kind, allowed)
        add(f"--slurm.{name}", f"{about} [{shown}]", typed, default=SUPPRESS)
    return parser


def _grid(file: Path, base: Path | None, parsed: Namespace) -> Grid:
    """The rows that were asked for, by default all."""
    grid = load_grid(file, base)
    if parsed.rows is None:
        return grid
    names = {row.name for row in grid.rows}  # one may have a comma
    asked = [one for row in parsed.rows for one in ([row] if row in names else listed(row))]
    return choose_rows(grid, asked)


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
