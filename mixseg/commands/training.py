"""Training: semi-supervised, supervised, across domains, from a teacher."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mixseg.commands.parsing import Namespace, Parser, without_effect
from mixseg.config.effect import check_flags, command_of, is_baseline
from mixseg.config.flags import typed_overrides
from mixseg.config.presets import configuration_files, settings_from
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError

LOG = logging.getLogger("mixseg")

PRESETS = (
    " Without data it trains on built-in demo scenes. Without --config the preset of the data set "
    "comes first (configs/demo/{kind}.yaml for the scenes); values in brackets are those of a "
    "setting that no file and no flag gives."
)

DESCRIPTIONS = {
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


def train(arguments: Sequence[str], *, command: str, method: str) -> int:
    """``mixseg COMMAND``, which trains with ``method`` unless a flag names another."""
    parsed = _parser(command).read(arguments)
    overrides = typed_overrides(parsed, parsed.assignments)
    if command == "uda" and parsed.source_only:
        if "method" in overrides:
            raise ConfigError("--method and --source-only contradict each other; give one of them")
        method = "supervised"
    settings = None
    if parsed.resume in (None, "auto") and command != "distill":
        # Before torch is imported, so that mistakes are told at once; a teacher needs torch.
        settings = _settings(parsed, overrides, command, method)

    from mixseg.analysis.run_report import report
    from mixseg.distributed import joined
    from mixseg.terminal import new_console, training_bar
    from mixseg.training.run import resume, start

    with joined() as processes:
        console = new_console(quiet=processes.rank > 0)
        with training_bar(console) as on_progress:
            begun = _begun(parsed, overrides, command, method)
            if begun is None:
                settings = settings or _settings(parsed, overrides, command, method)
                for line in without_effect(check_flags(overrides, to_flat(settings))):
                    LOG.info(line)
                if parsed.resume == "auto":
                    if settings.name is None:
                        raise ConfigError(
                            "--resume auto needs --name, to know which run to go on with"
                        )
                    own = Path(settings.output).expanduser() / settings.name
                    begun = (own, to_flat(settings)) if _is_there(own) else None
            if begun is None:
                assert settings is not None
                outcome, path = start(settings, on_progress)
            else:
                outcome, path = resume(
                    *begun, allow_changes=parsed.allow_changes, on_progress=on_progress
                )
    if processes.rank == 0:
        report(outcome, path, console)
    return outcome.exit_code


train_ssl = partial(train, command="ssl", method="semi_supervised")
train_supervised = partial(train, command="supervised", method="supervised")
train_uda = partial(train, command="uda", method="domain_adaptation")
distill = partial(train, command="distill", method="distillation")


def _parser(command: str) -> Parser:
    parser = Parser(f"mixseg {command}", DESCRIPTIONS[command], settings=True)
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


def _settings(parsed: Namespace, overrides: dict[str, Any], command: str, method: str) -> Settings:
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
            "--labeled says what part of the target is labeled, of which nothing is used; for a "
            "part of the source: --set source_domain.labeled=1/8"
        )
    return settings


def _begun(
    parsed: Namespace, overrides: dict[str, Any], command: str, method: str
) -> tuple[Path, dict[str, Any]] | None:
    """The run to resume and what is asked for in it, where the flags alone tell."""
    if parsed.resume not in (None, "auto"):
        _check_resumed(parsed, overrides, command, method)
        return Path(parsed.resume), overrides
    if parsed.allow_changes and parsed.resume is None:
        raise ConfigError("--allow-changes does nothing without --resume")
    path = Path(str(overrides.get("output", "runs"))).expanduser() / str(overrides.get("name"))
    if command == "distill" and parsed.resume == "auto" and _is_there(path / "config.yaml"):
        # The run has all that it took from its teacher, whatever became of that.
        from mixseg.training.distilled_settings import student_of_name

        return path, ({} if parsed.student is None else student_of_name(parsed.student)) | overrides
    return None


def _is_there(path: Path) -> bool:
    """Whether the first process sees a run; on a network drive others may not yet."""
    from mixseg.distributed import of_first
    from mixseg.training.run_directory import is_blank

    return bool(of_first("there" if path.exists() and not is_blank(path) else ""))


def _check_resumed(parsed: Namespace, overrides: dict[str, Any], command: str, method: str) -> None:
    """Refuse flags that contradict ``--resume RUN``, and a baseline's command for another run."""
    from mixseg.training.saved_network import settings_of_run

    for flag, value in {
        "--config": parsed.config,
        "--name": overrides.get("name"),
        "--output": overrides.get("output"),
        "--student": parsed.student if command == "distill" else None,
    }.items():
        if value:
            raise ConfigError(
                "--resume RUN goes on in its own folder, with its own config.yaml; "
                f"leave {flag} out"
            )
    begun = Path(parsed.resume)
    if is_baseline(method) and (begun / "config.yaml").is_file():
        own = settings_of_run(begun).method  # the other commands go on with any run
        if own != method:
            raise ConfigError(
                f"{begun} is a run of method {own}; go on with: "
                f"mixseg {command_of(own)} --resume {shlex.quote(str(begun))}"
            )
