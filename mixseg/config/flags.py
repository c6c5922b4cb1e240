"""Settings on the command line: a flag for each, and ``--set PATH=VALUE``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixseg.config.renamed import RENAMED, translated
from mixseg.config.resolve import IN_EPOCHS, check_value
from mixseg.config.schema import description, schema, unknown_setting
from mixseg.config.values import FlagText, wanted
from mixseg.config.yaml import parse_yaml
from mixseg.errors import ConfigError

SHORT_FLAGS: dict[str, str] = {
    "labeled": "data.labeled",
    "unlabeled": "data.unlabeled",
    "labeled-target": "data.labeled_target",
    "val": "data.val",
    "dataset": "data.dataset",
    "data-root": "data.root",
    "workers": "data.workers",
    "skip-bad": "data.skip_bad",
    "backbone": "model.backbone",
    "weights": "model.weights",
    "source": "source_domain.dataset",
    "source-root": "source_domain.root",
    "teacher": "distillation.teacher",
    "loss": "supervised_loss.name",
    "mixer": "mixing.mixer",
    "domains": "mixing.domains",
    "alignment": "targets.alignment",
    "style": "style.name",
    "weighting": "targets.weighting",
    "consistency": "targets.consistency",
    "iterations": "training.iterations",
    "epochs": "training.epochs",
    "precision": "training.precision",
    "device": "training.device",
    "lr": "optimizer.lr",
}
"""Short spellings of the settings that are changed most often."""


def flag_of(path: str) -> str:
    """The flag of a setting, as people type it."""
    short = {setting: name for name, setting in SHORT_FLAGS.items()}
    return f"--{short.get(path, path)}"


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser a flag for each setting; values stay as they were typed."""
    for path, (first, *_) in schema().items():
        if path == "imports":  # --import is read before any other flag
            continue
        names = list(dict.fromkeys((flag_of(path), f"--{path}")))
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if first.hint is bool else {}
        parser.add_argument(
            *names,
            **switch,
            dest=path,
            metavar=path.rpartition(".")[2].upper(),
            default=argparse.SUPPRESS,
            help=f"{description(path)} ({wanted(first.hint, first.allowed)})".replace("%", "%%"),
        )
    for old in RENAMED:
        parser.add_argument(
            f"--{old}",
            dest=old,
            nargs="?",
            const="true",
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )


def typed_overrides(parsed: argparse.Namespace, assignments: Sequence[str]) -> dict[str, Any]:
    """Setting path -> text: flags, and ``--set path=value`` assignments.

    Raises:
        ConfigError: An assignment names no setting, a setting is given twice, its value is of
            another type or out of range, or two contradict each other.
    """
    known = schema()
    typed = vars(parsed)
    overrides: dict[str, Any] = {}
    for path in (*known, *RENAMED):
        if path in typed:
            name, value = translated(path, typed[path])
            overrides[name] = None if value == "null" else FlagText(value)
    for text in assignments:
        given, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: expected path=value, for example model.backbone=x")
        path, value = translated(given, value)
        if path in overrides:
            raise ConfigError(f"--set {text}: {path} is given twice")
        if path not in known or path == "imports":
            raise ConfigError(f"--set {text[:80]}: {unknown_setting(path)}")
        if value in ("", "null"):
            overrides[path] = None
        elif value[:1] in ("'", '"'):  # a text may be in quotes
            overrides[path] = FlagText(
                parse_yaml(f"value: {value}", Path(f"--set {path}")).data["value"]
            )
        else:
            overrides[path] = FlagText(value)
    for path, value in overrides.items():
        check_value(path, value, flag_of(path))
    for steps, epochs in IN_EPOCHS.items():
        if steps in overrides and overrides.get(epochs) is not None:
            raise ConfigError(f"--{epochs} and --{steps} contradict each other; give one of them")
    if overrides.get("stages") and overrides.get("training.iterations") is not None:
        raise ConfigError("--stages and --training.iterations contradict each other; give one")
    return overrides
