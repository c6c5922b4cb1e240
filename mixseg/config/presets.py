"""The shipped presets and grids by name, and settings from presets, files and flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import Settings
from mixseg.config.yaml import load_yaml
from mixseg.errors import ConfigError, unknown_name
from mixseg.plugins import import_recorded
from mixseg.registry import SLOTS


def presets_folder() -> Path:
    """The shipped ``configs``: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / "demo" / "ssl.yaml").is_file():
            return folder
    raise ConfigError("the shipped configs are missing; install mixseg again")


def configuration_file(name: str) -> Path:
    """The file that ``--config`` names: one of the user's, or a shipped preset.

    A preset goes by its path in ``configs`` or the last part of it, with or without ``.yaml``, and
    with hyphens or underscores: ``folder-small``, ``ssl/folder_small``,
    ``configs/ssl/folder_small.yaml``. A file of that name comes first.

    Raises:
        ConfigError: There is no such file and no such preset, or several presets have the name.
    """
    return _file(name, "preset", grids=False)


def grid_file(name: str) -> Path:
    """The file of an ablation: one of the user's, or a shipped grid, named like a preset."""
    return _file(name, "grid", grids=True)


def _file(name: str, kind: str, *, grids: bool) -> Path:
    path = Path(name).expanduser()
    if path.is_absolute() or (path.exists() and not path.is_dir()):
        return path  # whoever reads it says what is wrong with it
    shipped = {
        file.relative_to(presets_folder()).as_posix().removesuffix(".yaml"): file
        for file in sorted(presets_folder().glob("*/*.yaml"))
        if (file.parent.name == "ablations") == grids
    }
    wanted = name.removeprefix("configs/").removesuffix(".yaml").replace("-", "_")
    found = [key for key in shipped if wanted in (key, key.rpartition("/")[2])]
    if len(found) == 1:
        return shipped[found[0]]
    if found:
        raise ConfigError(f"{name}: several {kind}s have this name: {', '.join(found)}")
    raise ConfigError(f"{name}: there is no such file; {unknown_name(kind, wanted, shipped)}")


def configuration_files(
    names: Sequence[str], given: Mapping[str, Any], kind: str | None = None
) -> list[Path]:
    """The files that ``--config`` names, or the preset of the data set.

    Args:
        names: Files and presets.
        given: Setting path -> value, of the flags.
        kind: Folder of the presets, ``ssl`` or ``uda``; by default as the flags name a source.

    Raises:
        ConfigError: A data set is unknown, or there is no preset for it.
    """
    if names:
        return [configuration_file(name) for name in names]
    kind = kind or ("uda" if "source_domain.dataset" in given else "ssl")
    dataset = str(given.get("data.dataset", "demo"))
    check_layout(root_given="data.root" in given, layout_known=dataset != "demo")
    named = {"data.dataset": dataset, "source_domain.dataset": None, **given}
    SLOTS.dataset.check(named, "data.dataset")
    SLOTS.source.check(named, "source_domain.dataset")
    if dataset == "demo":
        return [presets_folder() / "demo" / f"{kind}.yaml"]
    source = given.get("source_domain.dataset", "gta5")
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
    """Refuse a folder of data without the name of its layout."""
    if root_given and not layout_known:
        raise ConfigError(
            "--data-root needs --config FILE or --dataset NAME, to know how the folder is laid out"
        )


def settings_from(
    files: list[Path], overrides: Mapping[str, Any], imports: Sequence[str]
) -> Settings:
    """Settings from files and flags, after the imports that the files ask for.

    Args:
        files: Presets and files, later ones over earlier ones.
        overrides: Setting path -> value, of the flags.
        imports: What ``--import`` names.
    """
    asked = list(imports)
    for file in files:
        asked += import_recorded(load_yaml(file).data.get("imports"), str(file))
    settings = resolve_settings(files, overrides)
    return replace(settings, imports=tuple(dict.fromkeys((*asked, *settings.imports))))
