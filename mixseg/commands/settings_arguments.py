"""Flags of commands that take the settings of a run, and the files behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mixseg.commands.parsing import parse, with_joined
from mixseg.commands.presets import configuration_file, presets_folder
from mixseg.config import Settings, add_settings_arguments, resolve_settings, typed_overrides
from mixseg.errors import ConfigError
from mixseg.terminal import complain
from mixseg.training.checks import check_flags
from mixseg.training.data import check_dataset_name


def add_file_arguments(parser: ArgumentParser) -> None:
    """``--config`` and ``--set``; :func:`parse_with_settings` lets both be repeated."""
    parser.add_argument(
        "--config",
        type=str,
        default=[],
        nargs="+",
        metavar="FILE",
        help="YAML file(s), or shipped presets such as folder-small, for photographs of your own "
        "on a small machine",
    )
    add_set_argument(parser)


def add_set_argument(parser: ArgumentParser) -> None:
    """``--set`` alone, for a command that takes its files in another way."""
    parser.add_argument(
        "--set",
        dest="assignments",
        type=str,
        default=[],
        nargs="+",
        metavar="PATH=VALUE",
        help="any setting, for example model.backbone=resnet50",
    )


def parse_with_settings(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse a command's own flags, ``--config``, ``--set``, and a flag for each setting."""
    add_settings_arguments(parser)
    return parse(parser, with_joined(arguments, ("--config", "--set")))


def configuration_files(parsed: Namespace, overrides: dict[str, Any], kind: str) -> list[Path]:
    """The configuration files: those given, or the preset of the data set.

    Args:
        parsed: What was typed.
        overrides: Setting path -> value, of the flags.
        kind: Folder of the presets, ``ssl`` or ``uda``.

    Raises:
        ConfigError: A data set is unknown, or there is no preset for it.
    """
    if parsed.config:
        return [configuration_file(name) for name in parsed.config]
    dataset = str(overrides.get("data.dataset", "demo"))
    check_layout(root_given="data.root" in overrides, layout_known=dataset != "demo")
    if "source_domain.dataset" in overrides:
        check_dataset_name(str(overrides["source_domain.dataset"]), "source_domain.dataset")
    if dataset == "demo":
        return [presets_folder() / "demo" / f"{kind}.yaml"]
    source = overrides.get("source_domain.dataset", "gta5")
    name = f"{source}_{dataset}" if kind == "uda" else dataset
    preset = presets_folder() / kind / f"{name}.yaml"
    if not preset.is_file():
        check_dataset_name(dataset, "data.dataset")
        there = ", ".join(sorted(f"{kind}/{one.stem}" for one in preset.parent.glob("*.yaml")))
        raise ConfigError(
            f"there is no preset {kind}/{name}; copy one of {there} in {presets_folder()}, change "
            "it, and give it with --config FILE"
        )
    return [preset]


def check_layout(*, root_given: bool, layout_known: bool) -> None:
    """Refuse a folder of data whose layout nobody named.

    Raises:
        ConfigError: There is such a folder.
    """
    if root_given and not layout_known:
        raise ConfigError(
            "--data-root needs --config FILE or --dataset NAME, to know how the folder is laid out"
        )


def any_settings(parsed: Namespace) -> Settings:
    """The settings of a tool that takes those of any training command."""
    overrides = typed_overrides(parsed, parsed.assignments)
    kind = "uda" if "source_domain.dataset" in overrides else "ssl"
    settings = resolve_settings(configuration_files(parsed, overrides, kind), overrides)
    # Not on standard output, which may be what the command was asked for.
    for line in without_effect(check_flags(overrides, settings)):
        complain(line)
    return settings


def without_effect(flags: Sequence[str], where: str = "a supervised run") -> list[str]:
    """Notes on flags that a baseline takes, as the run it is compared with, and never reads."""
    return [f"note: {flag} has no effect in {where}" for flag in flags]
