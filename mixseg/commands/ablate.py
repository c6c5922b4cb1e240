"""The rows of a table, each trained with several seeds."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixseg.ablation.cluster import SETTINGS, SlurmArray
from mixseg.commands.parsing import Namespace, Parser, listed
from mixseg.config.flags import typed_overrides
from mixseg.config.presets import configuration_file, grid_file
from mixseg.config.values import FlagType, Range
from mixseg.config.yaml import load_yaml
from mixseg.errors import ConfigError, unknown_name
from mixseg.plugins import import_recorded
from mixseg.terminal import new_console

if TYPE_CHECKING:
    from mixseg.ablation.grid import Grid

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
    base = None if parsed.base is None else configuration_file(parsed.base)

    from mixseg.ablation.launch import launch

    grid = _grid(file, base, parsed.rows)
    common = _common_overrides(parsed, grid)
    folder = Path(str(common.pop("output", Path("runs") / file.stem))).expanduser()
    return launch(
        grid,
        folder,
        common,
        cluster=_cluster(parsed, folder),
        seeds=parsed.seeds or grid.seeds,
        at_once=parsed.jobs or 1,
        wait=not parsed.no_wait,
        dry_run=parsed.dry_run,
        allow_changes=parsed.allow_changes,
        console=new_console(),
    )


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


def _grid(file: Path, base: Path | None, given: Sequence[str] | None) -> Grid:
    """The rows that were asked for, by default all."""
    from mixseg.ablation.grid import choose_rows, load_grid

    grid = load_grid(file, base)
    if given is None:
        return grid
    names = {row.name for row in grid.rows}  # one may have a comma
    return choose_rows(
        grid, [one for row in given for one in ([row] if row in names else listed(row))]
    )


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
