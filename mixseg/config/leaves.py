"""Every setting by its path, such as ``optimizer.lr``: type, default, documentation, value."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from docstring_parser import parse_from_object

from mixseg.config.ranges import Range, ranges_of
from mixseg.config.sections import Settings, StageSettings


@final
@dataclass(frozen=True)
class Setting:
    """One leaf of the settings: its path, type, default, documentation and the range of numbers."""

    path: str
    hint: Any
    default: Any
    help: str
    allowed: Range | None = None


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


def fields_of(kind: Any) -> tuple[Setting, ...]:
    """The fields of a settings class; a default of None where there is none."""
    documents = {entry.args[1]: entry.description or "" for entry in parse_from_object(kind).params}
    hints = typing.get_type_hints(kind)
    return tuple(
        Setting(
            entry.name,
            hints[entry.name],
            None if entry.default is dataclasses.MISSING else entry.default,
            " ".join(documents[entry.name].split()),
            ranges_of(kind).get(entry.name),
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


def unknown_setting(path: str) -> str:
    """The message for a path that is no setting: the closest ones, and those of its section."""
    path = path[:80]
    paths = [leaf.path for leaf in settings_leaves()]
    section = path.rpartition(".")[0]
    inside = [one for one in paths if section and one.rpartition(".")[0] == section]
    sections = sorted({one.partition(".")[0] for one in paths if "." in one})
    # The name alone is looked for too: lr is optimizer.lr.
    last = path.rpartition(".")[2]
    near = [one for one in paths if one.rpartition(".")[2] == last]
    near += difflib.get_close_matches(path, inside or [*paths, *sections], n=3, cutoff=0.6)
    near = list(dict.fromkeys(near))[:4]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    hint += f" Or {' or '.join(map(repr, near[1:]))}?" if near[1:] else ""
    listed = (
        f"{section} has {', '.join(one.rpartition('.')[2] for one in inside)}"
        if inside
        else (f"The sections are {', '.join(sections)}")
    )
    return f"unknown setting {path!r}.{hint} {listed}; mixseg ssl --help says what each means"
