"""Defaults, then files, then flags: from what people give to the settings of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mixseg.config.options import Setting, fields_of
from mixseg.config.renamed import translated
from mixseg.config.schema import chosen_options, schema, unknown_setting
from mixseg.config.sections import Settings, StageSettings
from mixseg.config.values import FlagText, value_of, wanted
from mixseg.config.yaml import KeyPath, LoadedYaml, load_yaml, parse_yaml
from mixseg.errors import ConfigError, unknown_name
from mixseg.registry import all_slots

LENGTHS = ("training.iterations", "training.epochs")
"""Settings that say how long a run is; its stages are another way to."""

IN_EPOCHS: dict[str, str] = {
    "training.iterations": "training.epochs",
    "schedule.warmup_steps": "schedule.warmup_epochs",
}
"""Numbers of steps -> the setting from which they follow where it is given."""


def resolve_settings(files: list[Path], overrides: Mapping[str, Any]) -> Settings:
    """Defaults, then each file, then overrides.

    Files and overrides may hold options of parts that the run does not have, so that one file
    serves runs with and without them: they are left out.

    Args:
        files: YAML files; later ones win.
        overrides: Setting path -> value, for example from flags.

    Raises:
        ConfigError: A key is unknown or duplicate, a part is unknown, a value has the wrong type or
            range, or settings contradict each other. File, line and the closest name are in the
            message.
    """
    values, origins = _resolved(files, overrides)
    try:
        return build_settings(values)
    except ConfigError as error:
        # A range check names the setting; where it came from helps to find it.
        named = set(re.findall(r"[\w.]+", str(error)))
        blamed = [where for key, where in origins.items() if key in named]
        raise ConfigError(f"{error} ({'; '.join(blamed)})" if blamed else str(error)) from error


def resolve_values(files: list[Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Setting path -> value as :func:`resolve_settings`, without a look at whether they fit.

    Raises:
        ConfigError: A key or a part is unknown, or a value has the wrong type.
    """
    return _resolved(files, overrides)[0]


def build_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from setting path -> value of the right types."""
    options = {path: value for path, value in values.items() if schema()[path][0].owner}

    def section(kind: Any, prefix: str) -> Any:
        given: dict[str, Any] = {}
        for name, hint in typing.get_type_hints(kind).items():
            path = prefix + name
            if path == "stages":
                given[name] = tuple(StageSettings(**stage) for stage in values[path])
            elif path == "options":
                given[name] = options
            elif dataclasses.is_dataclass(hint):
                given[name] = section(hint, f"{path}.")
            else:
                given[name] = values[path]
        return kind(**given)

    built: Settings = section(Settings, "")
    return built


def _resolved(
    files: list[Path], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of all settings, and where those that were given come from."""
    origins: dict[str, str] = {}
    given: dict[str, Any] = {}
    values = {path: one[0].default for path, one in schema().items() if not one[0].owner}
    for file in files:
        loaded = load_yaml(file)
        own = {path: (value, where) for path, value, where in _flatten(loaded)}
        _take(own, str(file), given, values, origins)
    typed = {}
    for key, value in overrides.items():
        path, value = translated(key, value, say=isinstance(value, FlagText))
        if path not in schema():
            raise ConfigError(unknown_setting(path))
        typed[path] = (value, f"--{key}")
    _take(typed, "flags", given, values, origins)
    for slot in all_slots():
        if slot.setting:
            where = origins.get(slot.setting)
            slot.check(values, f"{where}: {slot.setting}" if where else slot.setting)
    options = chosen_options(values)
    for path, value in given.items():
        if path in options:
            values[path] = typed_value(options[path], value, origins[path])
        else:
            check_value(path, value, origins[path])
    for path, option in options.items():
        values.setdefault(path, option.default)
    return values, origins


def _take(
    own: Mapping[str, tuple[Any, str]],
    where: str,
    given: dict[str, Any],
    values: dict[str, Any],
    origins: dict[str, str],
) -> None:
    """Let what one place gives replace what earlier ones gave."""
    new = {path: value for path, (value, _) in own.items()}
    # The later of steps and epochs counts, and of stages and a length.
    for steps, epochs in IN_EPOCHS.items():
        if steps in new and epochs not in new:
            values[epochs] = None
    if new.get("stages") and "training.epochs" not in new:
        values["training.epochs"] = None
    lengths = [key for key in LENGTHS if new.get(key)]
    if values["stages"] and lengths and "stages" not in new:
        raise ConfigError(
            f"{where}: {lengths[0]} cannot shorten or stretch stages, whose epochs are the length "
            "of the run; give other stages, or stages: [] for none"
        )
    for path, (value, origin) in own.items():
        origins[path] = origin
        first = schema()[path][0]
        if first.owner:
            given[path] = value  # its type depends on the part, which a later place may choose
        else:
            values[path] = typed_value(first, value, origin)


def check_value(path: str, value: Any, origin: str) -> None:
    """Refuse a value that is none for any part with this option, or for the setting of every run.

    Raises:
        ConfigError: It is of another type or out of range.
    """
    *others, last = schema()[path]
    for entry in others:
        with contextlib.suppress(ConfigError):
            typed_value(entry, value, origin)
            return
    typed_value(last, value, origin)


def _flatten(loaded: LoadedYaml) -> Iterator[tuple[str, Any, str]]:
    """Paths, values and places of a file; refuses what is not a setting."""
    known = schema()
    sections = {path.rsplit(".", 1)[0] for path in known if "." in path}
    pending: list[tuple[KeyPath, Any]] = [((key,), value) for key, value in loaded.data.items()]
    for key_path, value in pending:
        key = ".".join(str(part) for part in key_path)
        where = f"{loaded.path}, line {loaded.line(key_path)}"
        # What mixseg has written itself, a run's config.yaml, is understood without a word.
        path, value = translated(key, value, say=loaded.path.name != "config.yaml")
        if path in known:
            # A number is taken for a text as it is written: the name 1e5 is not 100000.0.
            is_text = known[path][0].hint in (str, str | None) and type(value) in (int, float)
            yield path, loaded.texts[key_path] if is_text else value, where
        elif key in sections:
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {key} is a section; give its settings below it")
            pending.extend(((*key_path, name), inner) for name, inner in value.items())
        else:
            raise ConfigError(f"{where}: {unknown_setting(key)}")


def typed_value(setting: Setting, value: Any, origin: str) -> Any:
    """A value converted to the type of its setting.

    Raises:
        ConfigError: It is of another type or out of range.
    """
    if setting.path == "stages":
        return _typed_stages(value, origin)
    if value is None and type(None) not in typing.get_args(setting.hint):
        raise ConfigError(f"{origin}: {setting.path} must be given a value. {setting.help}")
    try:
        return value_of(setting.hint, value, setting.allowed)
    except ValueError as error:
        raise ConfigError(
            f"{origin}: {setting.path} must be {wanted(setting.hint, setting.allowed)}, found "
            f"{value!r}. {setting.help}"
        ) from error


def _typed_stages(stages: Any, origin: str) -> tuple[dict[str, Any], ...]:
    if isinstance(stages, str):
        stages = parse_yaml(f"stages: {stages}", Path(origin)).data["stages"]
    known = {one.path: one for one in fields_of(StageSettings)}
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
        missing = [key for key, one in known.items() if one.default is None and key not in stage]
        if missing:
            raise ConfigError(f"{where}: {missing[0]} is missing. {known[missing[0]].help}")
        typed.append({key: typed_value(known[key], value, where) for key, value in stage.items()})
    return tuple(typed)
