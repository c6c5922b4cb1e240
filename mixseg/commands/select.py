"""Unlabeled images that are worth a label, of a run, or in a simulation where labels exist."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mixseg.active.how import STRATEGIES, How, Strategy
from mixseg.commands.parsing import Namespace, Parser
from mixseg.config.values import SEEDS, Range
from mixseg.errors import ConfigError, unknown_name
from mixseg.tables import terminal_table
from mixseg.terminal import new_console, progress_bar, say, show, training_bar

if TYPE_CHECKING:
    from rich.console import Console

ABOUT = (
    "Choose the unlabeled images whose labels would teach most: those in which teacher and student "
    "disagree once they are mixed with others, and which are unlike each other. Writes a list, all "
    "scores, and a sheet of pictures. With --simulate the labels are there already: it chooses, "
    "trains with them, and compares strategies; the same command goes on where it stopped."
)


def select(arguments: Sequence[str]) -> int:
    """``mixseg select``."""
    parsed = _parser().read(arguments)
    strategies = list(dict.fromkeys(parsed.strategy)) or (
        ["inconsistency", "random"] if parsed.simulate else ["inconsistency"]
    )
    for name in strategies:
        if name not in STRATEGIES:
            raise ConfigError(f"--strategy: {unknown_name('strategy', name, STRATEGIES)}")
    if parsed.simulate and parsed.images is not None:
        raise ConfigError("--images: a simulation takes the images of the run, which have labels")
    for flag in ("rounds", "seeds"):
        if not parsed.simulate and getattr(parsed, flag) is not None:
            raise ConfigError(f"--{flag} does nothing without --simulate")
    if not parsed.simulate and strategies not in (["inconsistency"], ["entropy"]):
        raise ConfigError(
            f"--strategy {' '.join(strategies)}: without --simulate one is taken, inconsistency or "
            "entropy"
        )
    how = How(
        budget=parsed.budget,
        strategy=strategies[0],
        views=parsed.views,
        diversity=parsed.diversity,
        balance=parsed.balance,
        seed=parsed.seed,
        batch_size=parsed.batch_size,
    )
    console = new_console()
    if parsed.simulate:
        return _simulated(parsed, strategies, how, console)
    return _selected(parsed, how, console)


def _parser() -> Parser:
    parser = Parser("mixseg select", ABOUT)
    add = parser.add
    add("run", "a run's folder, or one of its checkpoints")
    images_help = "folder or list file of images [the unlabeled ones of the run]"
    add("--images", images_help, metavar="DIR|FILE")
    budget_help = "images to choose; in a simulation in each round"
    add("--budget", budget_help, int, Range(1, 1e6), required=True, metavar="N")
    output_help = "new or empty folder [beside the run]; one with a simulation goes on"
    add("--output", output_help, metavar="DIR")
    strategy_help = (
        "; ".join(f"{name}: {why}" for name, why in STRATEGIES.items())
        + "; a simulation compares several [inconsistency; in a simulation random too]"
    )
    add("--strategy", strategy_help, action="extend", nargs="+", default=[], metavar="NAME")
    add("--views", "mixed views of each image [8]", int, Range(1, 1000), default=8, metavar="N")
    diversity_help = "0 takes the highest scores, 1 images unlike each other and labeled ones [0.5]"
    add("--diversity", diversity_help, float, Range(0, 1), default=0.5)
    balance_help = "0 counts pixels in the score of an image, 1 its classes equally [0.5]"
    add("--balance", balance_help, float, Range(0, 1), default=0.5)
    add("--seed", "seed of views and of random choices [0]", int, Range(0, SEEDS), default=0)
    simulate_help = "choose among labeled images, train with their labels, and compare"
    add("--simulate", simulate_help, action="store_true")
    add("--rounds", "with --simulate: rounds [3]", int, Range(1, 1000), metavar="N")
    seeds_help = "with --simulate: trainings of each kind, from the seed of the run on [1]"
    add("--seeds", seeds_help, int, Range(1, 1000), metavar="N")
    batch_help = "views per forward pass: memory and speed alone [4]"
    add("--batch-size", batch_help, int, Range(1, 1000), default=4, metavar="N")
    add("--device", "auto, cpu, cuda or cuda:N", default="auto")
    precision_help = "arithmetic; auto takes that of the run, where the hardware has it [auto]"
    parser.add_like("--precision", "training.precision", precision_help, default="auto")
    return parser


def _selected(parsed: Namespace, how: How, console: Console) -> int:
    """Choose and write; 1 if images could not be read."""
    from mixseg.active.candidates import as_trained, open_candidates
    from mixseg.active.report import write_selection
    from mixseg.active.selection import Networks
    from mixseg.active.selection import select as choose
    from mixseg.config.resolve import resolve_settings
    from mixseg.evaluation.prediction import new_folder
    from mixseg.training.run import unused_name
    from mixseg.training.saved_network import load_networks

    saved = load_networks(Path(parsed.run), "both")
    for problem in saved.problems:
        say(console, f"passed over: {problem}", "yellow")
    say(console, saved.describe())
    settings = as_trained(resolve_settings([], saved.settings), saved.run)
    images = None if parsed.images is None else Path(parsed.images).expanduser()
    candidates = open_candidates(settings, saved.classes, images)
    networks = Networks.of(saved, parsed.device, parsed.precision)
    given = parsed.output
    if given is None:
        given = saved.run.parent / unused_name(saved.run.parent, f"{saved.run_name}-select")
    output = new_folder(Path(given).expanduser(), "--output")
    with progress_bar(console, "judging") as advance:
        selection = choose(networks, candidates, how, advance)
    about = f"{saved.run_name}, step {saved.step}"
    files = write_selection(output, selection, saved.classes, how, about)
    there, chosen = len(candidates.indices), len(selection.chosen)
    if chosen < how.budget:
        say(console, f"note: --budget {how.budget}, but there are {chosen} images: all are chosen")
    say(console, f"{chosen} of {there} images are chosen; {output}: {', '.join(files)}")
    return 1 if len(selection.scores) < there else 0


def _simulated(
    parsed: Namespace, strategies: Sequence[Strategy], how: How, console: Console
) -> int:
    from mixseg.active.simulation import Simulation, table

    run = Path(parsed.run)
    simulation = Simulation(
        run=run,
        folder=Path(parsed.output or run.parent / f"{run.resolve().name}-simulation").expanduser(),
        how=how,
        strategies=strategies,
        rounds=parsed.rounds or 3,
        seeds=parsed.seeds or 1,
        device=parsed.device,
        precision=parsed.precision,
        progress=partial(training_bar, console),
        say=partial(say, console),
    )
    code = simulation()
    if not code:
        head, *rows = table(simulation.results)
        show(console, terminal_table(head, rows, title="mIoU, %", fold=True))
        say(console, f"{simulation.folder}: results.csv, results.md")
    return code
