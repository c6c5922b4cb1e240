"""Training: semi-supervised, supervised, across domains, from a teacher."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixseg.commands.parsing import Namespace, Parser, without_effect
from mixseg.config.checks import check_labeled_target
from mixseg.config.effect import check_flags, check_parts, command_of, is_baseline, method_of
from mixseg.config.flags import typed_overrides
from mixseg.config.presets import configuration_files, settings_from
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError

if TYPE_CHECKING:
    from mixseg.training.loop import OnProgress, Outcome

LOG = logging.getLogger("mixseg")

PRESETS = (
    " Without data it trains on built-in demo scenes. Without --config the preset of the data set "
    "comes first (configs/demo/{kind}.yaml for the scenes); values in brackets are those of a "
    "setting that no file and no flag gives."
)

ABOUT = {
    "ssl": "Train a segmentation network from few labeled and many unlabeled images."
    + PRESETS.format(kind="ssl"),
    "supervised": "Train a segmentation network on the labeled part alone, with the presets and "
    "flags of mixseg ssl: the baseline." + PRESETS.format(kind="ssl"),
    "uda": "Train a segmentation network from labeled renderings (--source) and unlabeled "
    "photographs (--dataset)." + PRESETS.format(kind="uda"),
    "distill": "Train a small segmentation network on labels and on the answers of a trained one: "
    "--teacher RUN --student NAME. Data and labeled part are those of the teacher's run, unless a "
    "--config has a section data, demo or source_domain.",
}
"""Command -> what its ``--help`` says."""

New = tuple[Settings, list[str]]
"""Settings of a run that is to be started, and notes on flags."""


def train(command: str, arguments: Sequence[str]) -> int:
    """``mixseg COMMAND``, one of :data:`ABOUT`."""
    parsed = _parser(command).read(arguments)
    overrides = typed_overrides(parsed, parsed.assignments)
    method = method_of(command)
    if command == "uda" and parsed.source_only:
        if "method" in overrides:
            raise ConfigError("--method and --source-only contradict each other; give one of them")
        method = method_of("supervised")
    _check_resume_flags(parsed, overrides)
    new = None
    if command == "distill":  # whose other settings follow from a teacher, which torch reads
        check_parts(overrides, str(overrides.get("method", method)))
    elif parsed.resume in (None, "auto"):
        new = _new_run(parsed, overrides, command, method)

    from mixseg.analysis.run_report import report
    from mixseg.distributed import joined
    from mixseg.terminal import new_console, training_bar

    with joined() as processes:
        console = new_console(quiet=processes.rank > 0)
        with training_bar(console) as on_progress:
            outcome, path = _trained(parsed, overrides, command, method, new, on_progress)
    if processes.rank == 0:
        report(outcome, path, console)
    return outcome.exit_code


def _parser(command: str) -> Parser:
    parser = Parser(f"mixseg {command}", ABOUT[command], settings=True)
    add = parser.add
    resume = "go on with a run; auto takes the one of this --name, and starts it if there is none"
    add("--resume", resume, metavar="auto|RUN")
    changes = "with --resume: accept settings that differ from the run's"
    add("--allow-changes", changes, action="store_true")
    if command == "uda":
        alone = "train on the source alone: the baseline under the same budget"
        add("--source-only", alone, action="store_true")
    if command == "distill":
        add("--student", "a whole network such as enet, or a timm backbone", metavar="NAME")
    return parser


def _check_resume_flags(parsed: Namespace, overrides: dict[str, Any]) -> None:
    """Refuse flags that contradict ``--resume RUN``, or do nothing without ``--resume``."""
    if parsed.allow_changes and parsed.resume is None:
        raise ConfigError("--allow-changes does nothing without --resume")
    if parsed.resume in (None, "auto"):
        return
    for flag, value in {
        "--config": parsed.config,
        "--name": overrides.get("name"),
        "--output": overrides.get("output"),
        "--student": vars(parsed).get("student"),
    }.items():
        if value:
            raise ConfigError(
                "--resume RUN goes on in its own folder, with its own config.yaml; "
                f"leave {flag} out"
            )


def _new_run(parsed: Namespace, overrides: dict[str, Any], command: str, method: str) -> New:
    """The settings of a new run: those that the command stands for, its files, then the flags."""
    # Presets say semi_supervised; the command's own method comes before them, but after a flag.
    implied: dict[str, Any] = {"method": method}
    if command == "distill":
        from mixseg.training.distilled_settings import files_and_settings

        files, of_teacher = files_and_settings(parsed.config, parsed.student, overrides)
        implied |= of_teacher
    else:
        kind = "uda" if command == "uda" else "ssl"
        files = configuration_files(parsed.config, overrides, kind)
    settings = settings_from(files, implied | overrides, parsed.import_names)
    if settings.two_domains and "data.labeled" in overrides:
        raise ConfigError(
            "--labeled is for one domain. For labels of a part of the target: --labeled-target "
            "1/16; for a part of the source: --set source_domain.labeled=1/8"
        )
    check_labeled_target(overrides.get("data.labeled_target"), two_domains=settings.two_domains)
    if parsed.resume == "auto" and settings.name is None:
        raise ConfigError("--resume auto needs --name, to know which run to go on with")
    return settings, without_effect(check_flags(overrides, to_flat(settings)))


def _trained(
    parsed: Namespace,
    overrides: dict[str, Any],
    command: str,
    method: str,
    new: New | None,
    on_progress: OnProgress,
) -> tuple[Outcome, Path]:
    """Start or resume the run; ``new`` is None where that is not known yet."""
    from mixseg.training.run import resume, start

    def go_on(path: Path, asked_for: dict[str, Any]) -> tuple[Outcome, Path]:
        changes = parsed.allow_changes
        return resume(path, asked_for, allow_changes=changes, on_progress=on_progress)

    if parsed.resume not in (None, "auto"):
        _check_method_of_run(Path(parsed.resume), method)
        return go_on(Path(parsed.resume), overrides)
    if new is None:
        begun = Path(str(overrides.get("output", "runs"))).expanduser() / str(overrides.get("name"))
        if parsed.resume == "auto" and _is_there(begun / "config.yaml"):
            # The run has all that it took from its teacher, whatever became of that.
            from mixseg.training.distilled_settings import student_of_name

            student = {} if parsed.student is None else student_of_name(parsed.student)
            return go_on(begun, student | overrides)
        new = _new_run(parsed, overrides, command, method)
    settings, notes = new
    for line in notes:
        LOG.info(line)
    path = Path(settings.output).expanduser() / str(settings.name)
    if parsed.resume == "auto" and _is_there(path):
        return go_on(path, to_flat(settings))
    return start(settings, on_progress)


def _is_there(path: Path) -> bool:
    """Whether the first process sees a run; on a network drive others may not yet."""
    from mixseg.distributed import of_first
    from mixseg.training.run_directory import is_blank

    return bool(of_first("there" if path.exists() and not is_blank(path) else ""))


def _check_method_of_run(begun: Path, method: str) -> None:
    """Refuse to go on as a baseline with a run of another method; others go on with any run."""
    from mixseg.training.saved_network import settings_of_run

    if is_baseline(method) and (begun / "config.yaml").is_file():
        own = settings_of_run(begun).method
        if own != method:
            raise ConfigError(
                f"{begun} is a run of method {own}; go on with: "
                f"mixseg {command_of(own)} --resume {shlex.quote(str(begun))}"
            )
