"""Flags of commands that take the settings of a run, and the files behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixseg.commands.parsing import ArgumentParser, Namespace, import_first, parse
from mixseg.commands.presets import configuration_file, presets_folder
from mixseg.config.effect import check_flags
from mixseg.config.flags import add_settings_arguments, typed_overrides
from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError
from mixseg.plugins import import_recorded
from mixseg.registry import SLOTS
from mixseg.strict_yaml import load_yaml
from mixseg.terminal import complain


def add_file_arguments(parser: ArgumentParser) -> None:
    """``--config`` and ``--set``, which may be repeated."""
    parser.add_argument(
        "--config",
        action="extend",
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
        action="extend",
        default=[],
        nargs="+",
        metavar="PATH=VALUE",
        help="any setting, for example model.backbone=resnet50",
    )


def parse_with_settings(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse a command's own flags, ``--config``, ``--set``, and a flag for each setting."""
    import_first(arguments)
    add_settings_arguments(parser)
    return parse(parser, arguments)


def settings_from(files: list[Path], overrides: dict[str, Any], imports: Sequence[str]) -> Settings:
    """Settings from files and flags, with the parts that they import.

    Args:
        files: Of the run.
        overrides: Setting path -> value, of the flags.
        imports: What ``--import`` names.
    """
    asked = list(imports)
    for file in files:
        asked += import_recorded(load_yaml(file).data.get("imports"), str(file))
    settings = resolve_settings(files, overrides)
    return replace(settings, imports=tuple(dict.fromkeys((*asked, *settings.imports))))


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
    given = {"data.dataset": dataset, "source_domain.dataset": None} | overrides
    SLOTS.dataset.check(given, "data.dataset")
    SLOTS.source.check(given, "source_domain.dataset")
    if dataset == "demo":
        return [presets_folder() / "demo" / f"{kind}.yaml"]
    source = overrides.get("source_domain.dataset", "gta5")
    name = f"{source}_{dataset}" if kind == "uda" else dataset
    preset = presets_folder() / kind / f"{name}.yaml"
    if not preset.is_file():
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
    files = configuration_files(parsed, overrides, kind)
    settings = settings_from(files, overrides, parsed.import_names)
    # Not on standard output, which may be what the command was asked for.
    for line in without_effect(check_flags(overrides, settings)):
        complain(line)
    return settings


def without_effect(flags: Sequence[str], where: str = "a supervised run") -> list[str]:
    """Notes on flags that a baseline takes, as the run it is compared with, and never reads."""
    return [f"note: {flag} has no effect in {where}" for flag in flags]
