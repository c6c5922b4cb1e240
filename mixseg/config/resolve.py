"""Defaults, then files, then flags: from what people give to typed settings."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mixseg.config.leaves import (
    Setting,
    build_settings,
    fields_of,
    settings_leaves,
    unknown_setting,
)
from mixseg.config.sections import Settings, StageSettings
from mixseg.config.values import value_of, wanted
from mixseg.errors import ConfigError, unknown_name
from mixseg.strict_yaml import KeyPath, LoadedYaml, load_yaml

LENGTHS = ("training.iterations", "training.epochs")
"""Settings that say how long a run is; its stages are another way to."""

IN_EPOCHS: dict[str, str] = {
    "training.iterations": "training.epochs",
    "schedule.warmup_steps": "schedule.warmup_epochs",
}
"""Numbers of steps -> the setting from which they follow where it is given."""


def resolve_settings(files: list[Path], overrides: Mapping[str, Any]) -> Settings:
    """Defaults, then each file, then overrides.

    Args:
        files: YAML files; later ones win.
        overrides: Setting path -> value, for example from flags.

    Raises:
        ConfigError: A key is unknown or duplicate, a value has the wrong type or range, or
            settings contradict each other. File, line and the closest name are in the message.
    """
    values, origins = _resolved(files, overrides)
    try:
        settings: Settings = build_settings(Settings, values, "")
        return settings
    except ConfigError as error:
        # A range check names the setting; where it came from helps to find it.
        named = set(re.findall(r"[\w.]+", str(error)))
        blamed = [where for key, where in origins.items() if key in named]
        raise ConfigError(f"{error} ({'; '.join(blamed)})" if blamed else str(error)) from error


def resolve_values(files: list[Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Setting path -> value as :func:`resolve_settings`, without a look at whether they fit.

    Raises:
        ConfigError: A key is unknown or duplicate, or a value has the wrong type.
    """
    return _resolved(files, overrides)[0]


def _resolved(
    files: list[Path], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of all settings, and where those that were given come from."""
    leaves = {leaf.path: leaf for leaf in settings_leaves()}
    values = {path: leaf.default for path, leaf in leaves.items()}
    origins: dict[str, str] = {}
    for path in files:
        loaded = load_yaml(path)
        given = dict(_flatten(loaded, leaves))
        _replace_epochs(given, values)
        _keep_stages(given, values, str(path))
        for key, value in given.items():
            line = loaded.line(tuple(key.split(".")))
            origins[key] = f"{path}, line {line}"
            values[key] = _typed(leaves[key], value, origins[key])
    _replace_epochs(overrides, values)
    _keep_stages(overrides, values, "flags")
    for key, value in overrides.items():
        if key not in leaves:
            raise ConfigError(unknown_setting(key))
        origins[key] = f"--{key}"
        values[key] = _typed(leaves[key], value, origins[key])
    return values, origins


def _replace_epochs(given: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Forget epochs of an earlier place where this one gives steps or stages: the later counts."""
    for steps, epochs in IN_EPOCHS.items():
        if steps in given and epochs not in given:
            values[epochs] = None
    if given.get("stages") and "training.epochs" not in given:
        values["training.epochs"] = None


def _keep_stages(given: Mapping[str, Any], values: Mapping[str, Any], where: str) -> None:
    """Refuse another length in a later place than the stages that make up the run."""
    lengths = [key for key in LENGTHS if given.get(key)]
    if values["stages"] and lengths and "stages" not in given:
        raise ConfigError(
            f"{where}: {lengths[0]} cannot shorten or stretch stages, whose epochs are the length "
            "of the run; give other stages, or stages: [] for none"
        )


def _flatten(loaded: LoadedYaml, leaves: Mapping[str, Setting]) -> Iterator[tuple[str, Any]]:
    """Key paths and values of a file; refuses what is not a setting, naming line and neighbour."""
    sections = {path.rsplit(".", 1)[0] for path in leaves if "." in path}
    pending: list[tuple[KeyPath, Any]] = [((key,), value) for key, value in loaded.data.items()]
    for key_path, value in pending:
        key = ".".join(str(part) for part in key_path)
        where = f"{loaded.path}, line {loaded.line(key_path)}"
        if key in leaves:
            # A number is taken for a text as it is written: the name 1e5 is not 100000.0.
            is_text = leaves[key].hint in (str, str | None) and type(value) in (int, float)
            yield key, loaded.texts[key_path] if is_text else value
        elif key in sections:
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {key} is a section; give its settings below it")
            pending.extend(((*key_path, name), inner) for name, inner in value.items())
        else:
            raise ConfigError(f"{where}: {unknown_setting(key)}")


def _typed(leaf: Setting, value: Any, origin: str) -> Any:
    """A value checked and converted by its type hint."""
    if leaf.path == "stages":
        return _typed_stages(value, origin)
    if value is None and type(None) not in typing.get_args(leaf.hint):
        raise ConfigError(f"{origin}: {leaf.path} must be given a value. {leaf.help}")
    try:
        return value_of(leaf.hint, value)
    except ValueError as error:
        raise ConfigError(
            f"{origin}: {leaf.path} must be {wanted(leaf.hint)}, found {value!r}. {leaf.help}"
        ) from error


def _typed_stages(stages: Any, origin: str) -> tuple[dict[str, Any], ...]:
    """Stages as mappings; jsonargparse would import a class that one of them names."""
    known = {leaf.path: leaf for leaf in fields_of(StageSettings)}
    if not isinstance(stages, list | tuple):
        raise ConfigError(f"{origin}: stages must be a list, found {stages!r}")
    typed = []
    for number, stage in enumerate(stages, start=1):
        where = f"{origin}: stages: stage {number}"
        if not isinstance(stage, dict):
            raise ConfigError(f"{where} must be a mapping of {', '.join(known)}; found {stage!r}")
        for key in stage:
            if key not in known:
                raise ConfigError(f"{where}: {unknown_name('setting', str(key), known)}")
        missing = [key for key, leaf in known.items() if leaf.default is None and key not in stage]
        if missing:
            raise ConfigError(f"{where}: {missing[0]} is missing. {known[missing[0]].help}")
        typed.append({key: _typed(known[key], value, where) for key, value in stage.items()})
    return tuple(typed)
