"""Settings on the command line: one typed flag for each, and ``--set PATH=VALUE``."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

from jsonargparse import ArgumentParser, Namespace

from mixseg.config.leaves import Setting, settings_leaves, size_of
from mixseg.config.resolve import IN_EPOCHS
from mixseg.config.sections import Size
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
            type=_flag_type(leaf),
            default=argparse.SUPPRESS,
            help=f"{leaf.help} [{shown}]{also}".replace("%", "%%"),
        )


def _flag_type(leaf: Setting) -> Any:
    if leaf.path == "stages":
        return _StageList()
    if Size in (leaf.hint, *typing.get_args(leaf.hint)):
        return _HeightAndWidth()
    return typing.Optional[leaf.hint]  # noqa: UP045


@final
class _StageList:
    """The type of a flag; a class because ``--help`` prints it."""

    def __call__(self, text: str) -> Any:
        return parse_yaml(f"stages: {text}", Path("--stages")).data["stages"]

    def __repr__(self) -> str:
        return "list[Stage]"


@final
class _HeightAndWidth:
    """Of a flag: 512x1024 as in other flags, or [512, 1024] as in files."""

    def __call__(self, given: str | Size | None) -> Size | None:
        if not isinstance(given, str):  # the parser checks once more what it has read
            return given
        if given in ("null", "none"):
            return None
        listed = re.fullmatch(r"\[ *(\d+) *, *(\d+) *\]", given)
        size = size_of(given) if listed is None else (int(listed[1]), int(listed[2]))
        if size is None:
            raise ValueError("neither 512x1024 nor [512, 1024]")
        return size

    def __repr__(self) -> str:
        return "HEIGHTxWIDTH"


def typed_overrides(parsed: Namespace, assignments: list[str]) -> dict[str, Any]:
    """What was typed: flags, and ``--set path=value`` assignments."""
    overrides = {leaf.path: parsed[leaf.path] for leaf in settings_leaves() if leaf.path in parsed}
    for text in assignments:
        path, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: expected path=value, for example model.backbone=x")
        if path in overrides:
            raise ConfigError(f"--set {text}: {path} is given twice")
        overrides[path] = _scalar(value, text)
    for steps, epochs in IN_EPOCHS.items():
        if steps in overrides and overrides.get(epochs) is not None:
            raise ConfigError(f"--{epochs} and --{steps} contradict each other; give one of them")
    if overrides.get("stages") and overrides.get("training.iterations") is not None:
        raise ConfigError("--stages and --training.iterations contradict each other; give one")
    return overrides


def _scalar(text: str, assignment: str) -> Any:
    try:
        return parse_yaml(f"value: {text}", Path("--set")).data["value"]
    except ConfigError as error:
        raise ConfigError(f"--set {assignment}: {error}") from error
