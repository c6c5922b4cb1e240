"""Settings on the command line: one typed flag for each, and ``--set PATH=VALUE``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

from jsonargparse import ArgumentParser, Namespace

from mixseg.config.leaves import Setting, settings_leaves, unknown_setting
from mixseg.config.resolve import IN_EPOCHS
from mixseg.config.values import FlagType
from mixseg.errors import ConfigError
from mixseg.strict_yaml import parse_yaml

SHORT_FLAGS: dict[str, str] = {
    "labeled": "data.labeled",
    "unlabeled": "data.unlabeled",
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
    "weighting": "targets.weighting",
    "consistency": "targets.consistency",
    "iterations": "training.iterations",
    "epochs": "training.epochs",
    "precision": "training.precision",
    "device": "training.device",
    "lr": "optimizer.lr",
}
"""Short spellings of the settings that are changed most often."""

_SECTIONS = {leaf.path.split(".")[0] for leaf in settings_leaves() if "." in leaf.path}

GROUP_FLAGS = {f"--{name}": f"--{SHORT_FLAGS[name]}" for name in SHORT_FLAGS if name in _SECTIONS}
"""Short flags that are named like a section, and the long ones. Had a parser a flag ``--teacher``,
it would read ``--teacher.decay`` as a part of that: it is given the long one alone, and
:func:`spelled_out` arguments."""


def spelled_out(arguments: Iterable[str], flags: Mapping[str, str] = GROUP_FLAGS) -> list[str]:
    """Arguments with some flags replaced by longer ones."""
    parts = (argument.partition("=") for argument in arguments)
    return ["".join((flags.get(flag, flag), *value)) for flag, *value in parts]


def add_settings_arguments(parser: ArgumentParser) -> None:
    """Give a parser one typed flag for each setting.

    What was not typed is absent from the result, so that a typed ``null`` can be told from it.
    """
    short = {path: f"--{name}" for name, path in SHORT_FLAGS.items()}
    for leaf in settings_leaves():
        names = [f"--{leaf.path}"]
        also = ""
        if short.get(leaf.path) in GROUP_FLAGS:
            also = f" For short: {short[leaf.path]}"
        elif leaf.path in short:
            names.insert(0, short[leaf.path])
        shown = "none" if leaf.default is None else leaf.default
        alone: dict[str, Any] = {"nargs": "?", "const": True} if leaf.hint is bool else {}
        parser.add_argument(
            *names,
            **alone,
            dest=leaf.path,
            type=_type_of(leaf, names[0]),
            default=argparse.SUPPRESS,
            help=f"{leaf.help} [{shown}]{also}".replace("%", "%%"),
        )


def _type_of(leaf: Setting, flag: str) -> FlagType | _StageList:
    return _StageList() if leaf.path == "stages" else FlagType(flag, leaf.hint, leaf.allowed)


@final
class _StageList:
    """The type of a flag; a class because ``--help`` prints it."""

    def __call__(self, text: Any) -> Any:
        if not isinstance(text, str):  # the parser checks once more what it has read
            return text
        return parse_yaml(f"stages: {text}", Path("--stages")).data["stages"]

    def __repr__(self) -> str:
        return "list[Stage]"


def typed_overrides(parsed: Namespace, assignments: list[str]) -> dict[str, Any]:
    """What was typed: flags, and ``--set path=value`` assignments."""
    leaves = {leaf.path: leaf for leaf in settings_leaves()}
    overrides = {path: parsed[path] for path in leaves if path in parsed}
    for text in assignments:
        path, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: expected path=value, for example model.backbone=x")
        if path in overrides:
            raise ConfigError(f"--set {text}: {path} is given twice")
        if path not in leaves:
            raise ConfigError(f"--set {text[:80]}: {unknown_setting(path)}")
        overrides[path] = _assigned(leaves[path], value)
    for steps, epochs in IN_EPOCHS.items():
        if steps in overrides and overrides.get(epochs) is not None:
            raise ConfigError(f"--{epochs} and --{steps} contradict each other; give one of them")
    if overrides.get("stages") and overrides.get("training.iterations") is not None:
        raise ConfigError("--stages and --training.iterations contradict each other; give one")
    return overrides


def _assigned(leaf: Setting, text: str) -> Any:
    """The value of ``--set``: what a flag takes; nothing is null, and a text may be in quotes."""
    if not text:
        return None
    flag = f"--set {leaf.path}"
    if text[0] in "'\"":
        text = parse_yaml(f"value: {text}", Path(flag)).data["value"]
    return _type_of(leaf, flag)(text)
