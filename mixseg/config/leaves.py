"""Every setting by its path, such as ``optimizer.lr``: type, default, documentation, value."""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from docstring_parser import parse_from_object

from mixseg.config.sections import Settings, Size, StageSettings


@final
@dataclass(frozen=True)
class Setting:
    """One leaf of the settings: its path, type, default and documentation."""

    path: str
    hint: Any
    default: Any
    help: str


@functools.cache
def settings_leaves() -> tuple[Setting, ...]:
    """All settings with their paths, in the order in which they are documented."""
    return tuple(_leaves(Settings(), ""))


def _leaves(section: Any, prefix: str) -> Iterator[Setting]:
    for entry in fields_of(type(section)):
        value = getattr(section, entry.path)
        path = prefix + entry.path
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{path}.")
        else:
            yield dataclasses.replace(entry, path=path, default=value)


def fields_of(kind: type[Any]) -> tuple[Setting, ...]:
    """The fields of a settings class; a default of None where there is none."""
    documents = {entry.args[1]: entry.description or "" for entry in parse_from_object(kind).params}
    hints = typing.get_type_hints(kind)
    return tuple(
        Setting(
            entry.name,
            hints[entry.name],
            None if entry.default is dataclasses.MISSING else entry.default,
            " ".join(documents[entry.name].split()),
        )
        for entry in dataclasses.fields(kind)
    )


def to_flat(settings: Settings) -> dict[str, Any]:
    """Setting path -> value, of which JSON and YAML can be made."""
    flat: dict[str, Any] = {}
    for leaf in settings_leaves():
        value: Any = settings
        for part in leaf.path.split("."):
            value = getattr(value, part)
        flat[leaf.path] = value
    flat["stages"] = tuple(dataclasses.asdict(stage) for stage in settings.stages)
    return flat


def build_settings(kind: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    """An instance of a settings class from setting path -> value."""
    arguments = {}
    for entry in dataclasses.fields(kind):
        path = prefix + entry.name
        if path == "stages":
            arguments[entry.name] = tuple(StageSettings(**stage) for stage in values[path])
        elif path in values:
            arguments[entry.name] = values[path]
        else:
            section = typing.get_type_hints(kind)[entry.name]
            arguments[entry.name] = build_settings(section, values, f"{path}.")
    return kind(**arguments)


def size_of(text: str) -> Size | None:
    """Height and width from a text such as 512x1024; None for anything else."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    return None if match is None else (int(match[1]), int(match[2]))
