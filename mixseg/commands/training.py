"""Training: semi-supervised, supervised, across domains, from a teacher."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixseg.commands.contract import for_several_processes
from mixseg.commands.parsing import ArgumentParser, Namespace, new_parser
from mixseg.commands.settings_arguments import (
    add_file_arguments,
    configuration_files,
    parse_with_settings,
    settings_from,
    without_effect,
)
from mixseg.config.effect import check_flags, command_of
from mixseg.config.flags import typed_overrides
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError

if TYPE_CHECKING:  # torch takes seconds to import; what was typed is understood before
    from mixseg.training.loop import OnProgress, Outcome

LOG = logging.getLogger("mixseg")

_PRESETS = (
    " Without data it trains on built-in demo scenes. Without --config the preset of the data set "
    "comes first (configs/demo/{kind}.yaml for the scenes); values in brackets are those of a "
    "setting that no file and no flag gives."
)

DESCRIPTIONS = {
    "semi_supervised": "Train a segmentation network from few labelled and many unlabelled images."
    + _PRESETS.format(kind="ssl"),
    "supervised": "Train a segmentation network on the labelled part alone, with the presets and "
    "flags of mixseg ssl: the baseline." + _PRESETS.format(kind="ssl"),
    "domain_adaptation": "Train a segmentation network from labelled renderings (--source) and "
    "unlabelled photographs (--dataset)." + _PRESETS.format(kind="uda"),
    "distillation": "Train a small segmentation network on labels and on the answers of a trained "
    "one: --teacher RUN --student NAME. Data and labelled part are those of the teacher's run, "
    "unless a --config has a section data, demo or source_domain.",
}
"""Method -> what its command says of itself."""


@for_several_processes
def train_ssl(arguments: Sequence[str]) -> int:
    """Semi-supervised training; see ``--help``."""
    return _train(arguments, "mixseg ssl", "semi_supervised")


@for_several_processes
def train_supervised(arguments: Sequence[str]) -> int:
    """Supervised training on the labelled part, with the same presets and flags."""
    return _train(arguments, "mixseg supervised", "supervised")


@for_several_processes
def train_uda(arguments: Sequence[str]) -> int:
    """Domain adaptation from labelled renderings to unlabelled photographs; see ``--help``."""
    return _train(arguments, "mixseg uda", "domain_adaptation")


@for_several_processes
def distill(arguments: Sequence[str]) -> int:
    """Train a small network on labels and on the answers of a trained one; see ``--help``."""
    return _train(arguments, "mixseg distill", "distillation")


def _train(arguments: Sequence[str], program: str, method: str) -> int:
    parsed = parse_with_settings(_training_parser(program, method), arguments)
    overrides = typed_overrides(parsed, parsed.assignments)
    if method == "domain_adaptation" and parsed.source_only:
        if "method" in overrides:
            raise ConfigError("--method and --source-only contradict each other; give one of them")
        method = "supervised"
    settings = None
    if parsed.resume in (None, "auto") and method != "distillation":
        settings = _settings(parsed, overrides, program, method)

    from mixseg.commands.console import console_of_first
    from mixseg.commands.training_report import report
    from mixseg.distributed import joined
    from mixseg.terminal import training_bar

    with joined() as processes:
        console = console_of_first()
        with training_bar(console) as on_progress:
            outcome, path = _trained(parsed, overrides, program, method, settings, on_progress)
    if processes.rank == 0:
        report(outcome, path, console)
    return outcome.exit_code


def _training_parser(program: str, method: str) -> ArgumentParser:
    parser = new_parser(program, DESCRIPTIONS[method])
    add_file_arguments(parser)
    parser.add_argument(
        "--resume",
        type=str,
        metavar="auto|RUN",
        help="go on with a run; auto takes the one of this --name, and starts it if there is none",
    )
    parser.add_argument(
        "--allow-changes",
        dest="allow_changes",
        action="store_true",
        help="with --resume: accept settings that differ from the run's",
    )
    if method == "domain_adaptation":
        parser.add_argument(
            "--source-only",
            dest="source_only",
            action="store_true",
            help="train on the source alone: the baseline under the same budget",
        )
    if method == "distillation":
        parser.add_argument(
            "--student",
            type=str,
            metavar="NAME",
            help="a whole network such as enet, or a timm backbone",
        )
    return parser


def _trained(
    parsed: Namespace,
    overrides: dict[str, Any],
    program: str,
    method: str,
    settings: Settings | None,
    on_progress: OnProgress,
) -> tuple[Outcome, Path]:
    """Start or go on with the run that was asked for."""
    from mixseg.training.run import resume, start

    if parsed.resume not in (None, "auto"):
        return _gone_on(parsed, overrides, method, on_progress)
    if parsed.allow_changes and parsed.resume is None:
        raise ConfigError("--allow-changes does nothing without --resume")
    begun = Path(str(overrides.get("output", "runs"))).expanduser() / str(overrides.get("name"))
    if method == "distillation" and parsed.resume == "auto" and _is_there(begun / "config.yaml"):
        # The run has all that it took from its teacher, whatever became of that.
        return _gone_on(parsed, overrides, method, on_progress, begun)
    settings = settings or _settings(parsed, overrides, program, method)
    for line in without_effect(check_flags(overrides, settings)):
        LOG.info(line)
    if parsed.resume == "auto":
        if settings.name is None:
            raise ConfigError("--resume auto needs --name, to know which run to go on with")
        path = Path(settings.output).expanduser() / settings.name
        if _is_there(path):
            asked_for = to_flat(settings)
            return resume(
                path, asked_for, allow_changes=parsed.allow_changes, on_progress=on_progress
            )
    return start(settings, on_progress)


def _is_there(path: Path) -> bool:
    """Whether the first process sees a run; on a network drive others may not yet."""
    from mixseg.distributed import of_first
    from mixseg.training.run_directory import is_blank

    return bool(of_first("there" if path.exists() and not is_blank(path) else ""))


def _gone_on(
    parsed: Namespace,
    overrides: dict[str, Any],
    method: str,
    on_progress: OnProgress,
    begun: Path | None = None,
) -> tuple[Outcome, Path]:
    """Go on with a run, with its own settings.

    Args:
        parsed: What was typed.
        overrides: Setting path -> value, of the flags.
        method: That the command stands for.
        on_progress: Told of each logged step.
        begun: The run that ``--resume auto`` has found; by default the one of ``--resume RUN``.
    """
    from mixseg.commands.distillation_files import student_of_name
    from mixseg.training.run import resume
    from mixseg.training.saved_network import settings_of_run

    if begun is None:
        begun = Path(parsed.resume)
        for flag, value in {
            "--config": parsed.config,
            "--name": overrides.get("name"),
            "--output": overrides.get("output"),
            "--student": parsed.student if method == "distillation" else None,
        }.items():
            if value:
                raise ConfigError(
                    "--resume RUN goes on in its own folder, with its own config.yaml; "
                    f"leave {flag} out"
                )
    elif parsed.student is not None:
        overrides = student_of_name(parsed.student) | overrides
    if method == "supervised" and (begun / "config.yaml").is_file():
        own = settings_of_run(begun).method  # the other tools go on with any run
        if own != method:
            raise ConfigError(
                f"{begun} is a run of method {own}; go on with: "
                f"mixseg {command_of(own)} --resume {shlex.quote(str(begun))}"
            )
    return resume(begun, overrides, allow_changes=parsed.allow_changes, on_progress=on_progress)


def _settings(parsed: Namespace, overrides: dict[str, Any], program: str, method: str) -> Settings:
    """The settings of a new run: of its files, of what the command stands for, of the flags."""
    # Presets say semi_supervised; what the tool stands for goes before them, but not before a flag.
    implied: dict[str, Any] = {"method": method}
    if method == "distillation":
        from mixseg.commands.distillation_files import distillation_files

        files, of_teacher = distillation_files(parsed, overrides)
        implied |= of_teacher
    else:
        kind = "uda" if program == "mixseg uda" else "ssl"
        files = configuration_files(parsed, overrides, kind)
    settings = settings_from(files, implied | overrides, parsed.import_names)
    if settings.two_domains and "data.labeled" in overrides:
        raise ConfigError(
            "--labeled says what part of the target is labelled, of which nothing is used; for a "
            "part of the source: --set source_domain.labeled=1/8"
        )
    return settings
