"""Offline self-training: label, train anew, label again."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mixseg.commands.parsing import Namespace, Parser, any_settings, without_effect
from mixseg.config.checks import check_labeled_flags
from mixseg.config.effect import check_flags
from mixseg.config.flags import flag_of, typed_overrides
from mixseg.config.schema import to_flat
from mixseg.config.values import Range
from mixseg.errors import ConfigError

if TYPE_CHECKING:
    from mixseg.training.self_training import Plan, Selection

LOG = logging.getLogger("mixseg")

ABOUT = (
    "Label all unlabeled images by the better network of a run and train a new network on true "
    "labels and pseudo-labels, several times. Begins with a finished RUN, or trains one with the "
    "settings of a training command. The same command again goes on where it stopped."
)

OF_IMAGES = (
    *("seed", "data.dataset", "data.root", "data.train_split", "data.val_split", "data.val"),
    *("data.labeled", "data.labeled_target", "data.unlabeled", "data.split_seed", "data.resize"),
    *("source_domain.", "demo.", "stages", "method"),
)
"""Settings, or prefixes of some, in which the rounds may not differ from a finished run."""


def self_train(arguments: Sequence[str]) -> int:
    """``mixseg self-train``."""
    parsed = _parser().read(arguments)
    if parsed.most < parsed.share:
        raise ConfigError(f"--most-share {parsed.most} is below --share {parsed.share}")
    settings = None
    if parsed.run is None:
        settings = any_settings(parsed)
        if settings.name is None:
            raise ConfigError("--name is missing: the same command goes on with what has this name")
        given = typed_overrides(parsed, parsed.assignments)
        check_labeled_flags(given, two_domains=settings.two_domains)
    elif parsed.config:
        raise ConfigError("a finished RUN has settings of its own; leave --config out")
    else:
        _check_overrides(parsed)

    from mixseg.analysis.self_training import tables, write_report
    from mixseg.distributed import joined
    from mixseg.terminal import new_console, progress_bar, say, show, training_bar
    from mixseg.training import self_training as training

    with joined() as processes:
        console = new_console(quiet=processes.rank > 0)
        selection = training.Selection(parsed.share, parsed.growth, parsed.most)
        if settings is None:
            plan = _after_run(parsed, selection)
        else:
            folder = Path(settings.output).expanduser() / str(settings.name)
            plan = training.Plan(
                folder, settings, parsed.rounds, selection, own_method=parsed.own_method
            )
        labeling = partial(progress_bar, console, "labeling")
        bars = training.Bars(partial(training_bar, console), labeling)
        rounds, code = training.self_train(plan, bars)
        if processes.rank:
            return code
    if rounds:
        files = write_report(plan.folder, rounds)
        for table in tables(rounds):
            show(console, table)
        say(console, f"{plan.folder}: {', '.join(files)}")
    if code:
        say(console, "stopped, saved; the same command goes on with it")
    else:
        say(console, f"next: mixseg evaluate {shlex.quote(str(rounds[-1].path))} --flip")
    return code


def _parser() -> Parser:
    parser = Parser("mixseg self-train", ABOUT, settings=True)
    add, share = parser.add, Range(0.001, 1)
    add("run", "a finished run; settings then hold for the rounds after it", nargs="?")
    add("--rounds", "rounds of labeling and training [3]", int, Range(1, 100), default=3)
    share_help = "share of the pixels of each class that count, the most confident ones [0.2]"
    add("--share", share_help, float, share, default=0.2)
    growth_help = "what each round adds to it [0.05]"
    add("--share-growth", growth_help, float, Range(0, 1), dest="growth", default=0.05)
    add("--most-share", "what it grows up to [0.5]", float, share, dest="most", default=0.5)
    own_help = "train the rounds by the method of the run, which sees unlabeled images as well"
    add("--own-method", own_help, action="store_true")
    return parser


def _check_overrides(parsed: Namespace) -> None:
    for path in typed_overrides(parsed, parsed.assignments):
        if path.startswith(OF_IMAGES):
            raise ConfigError(
                f"{flag_of(path)}: the rounds after a run have its images and their size, its seed "
                "and their own method; leave it out, or give all settings and no RUN"
            )


def _after_run(parsed: Namespace, selection: Selection) -> Plan:
    """The rounds that follow a finished run."""
    from mixseg.training.saved_network import settings_of_run
    from mixseg.training.self_training import Plan, settings_of_round

    run = Path(parsed.run).expanduser()
    if not (run / "config.yaml").is_file():
        raise ConfigError(f"{parsed.run}: is no folder of a run: it has no config.yaml")
    changes = typed_overrides(parsed, parsed.assignments)
    output = Path(str(changes.pop("output", run.absolute().parent))).expanduser()
    name = str(changes.pop("name", f"{run.absolute().name}-self-trained"))
    plan = Plan(
        folder=output / name,
        settings=settings_of_run(run),
        rounds=parsed.rounds,
        selection=selection,
        run=run,
        changes=changes,
        own_method=parsed.own_method,
    )
    flat = to_flat(settings_of_round(plan, 1))
    for line in without_effect(check_flags(changes, flat)):
        LOG.info(line)
    return plan
