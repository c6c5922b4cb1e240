"""Flags of commands that take the settings of a run, and the files behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mixseg.commands.presets import presets_folder
from mixseg.config import (
    Settings,
    resolve_settings,
    typed_overrides,
)
from mixseg.errors import ConfigError
from mixseg.training_data import (
    check_dataset_name,
)


def add_file_arguments(parser: ArgumentParser) -> None:
    """``--config`` and ``--set``."""
    parser.add_argument(
        "--config", type=str, default=[], nargs="+", metavar="FILE", help="YAML file(s)"
    )
    parser.add_argument(
        "--set",
        dest="assignments",
        type=str,
        default=[],
        nargs="+",
        metavar="PATH=VALUE",
        help="any setting, for example model.backbone=resnet50",
    )


def configuration_files(parsed: Namespace, overrides: dict[str, Any], kind: str) -> list[Path]:
    """The configuration files: those given, or the preset of the data set."""
    if parsed.config:
        return [Path(name) for name in parsed.config]
    dataset = str(overrides.get("data.dataset", "demo"))
    if dataset == "demo" and "data.root" in overrides:
        raise ConfigError(
            "--data-root needs --config FILE or --dataset NAME, to know how the folder is laid out"
        )
    name = dataset
    if "source_domain.dataset" in overrides:
        check_dataset_name(str(overrides["source_domain.dataset"]), "source_domain.dataset")
    if kind == "uda" and dataset != "demo":
        name = f"{overrides.get('source_domain.dataset', 'gta5')}_{dataset}"
    preset = presets_folder() / (
        f"demo/{kind}.yaml" if dataset == "demo" else f"{kind}/{name}.yaml"
    )
    if not preset.is_file():
        check_dataset_name(dataset, "data.dataset")
        raise ConfigError(f"there is no preset {kind}/{name}; give one with --config FILE")
    return [preset]


def any_settings(parsed: Namespace) -> Settings:
    """The settings of a tool that takes those of any training command."""
    overrides = typed_overrides(parsed, parsed.assignments)
    kind = "uda" if "source_domain.dataset" in overrides else "ssl"
    return resolve_settings(configuration_files(parsed, overrides, kind), overrides)
