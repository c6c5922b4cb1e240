"""Every setting by its path: those of every run, and the options of all parts that there are."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from mixseg.config.options import Setting, fields_of
from mixseg.config.sections import Settings
from mixseg.registry import Registry, Slot, all_slots

Schema = Mapping[str, tuple[Setting, ...]]
"""Path -> the setting, or the option by each part that has one of this path."""


def schema() -> Schema:
    """All settings, in the order in which they are documented."""
    return _schema(Registry.version)


@functools.cache
def _schema(version: int) -> Schema:
    found: dict[str, list[Setting]] = {one.path: [one] for one in _of_every_run(Settings(), "")}
    for slot in all_slots():
        for name in slot.all_names():
            for option in slot.options(name):
                if option not in found.setdefault(option.path, []):
                    found[option.path].append(option)
    sections = {path.partition(".")[0]: number for number, path in reversed([*enumerate(found)])}
    # Options stand with the other settings of their section.
    ordered = sorted(found, key=lambda path: sections[path.partition(".")[0]])
    return {path: tuple(found[path]) for path in ordered}


def _of_every_run(section: Any, prefix: str) -> Iterator[Setting]:
    for entry in fields_of(section.__class__, prefix):
        value = getattr(section, entry.parameter)
        if dataclasses.is_dataclass(value):
            yield from _of_every_run(value, f"{entry.path}.")
        elif entry.path != "options":
            yield dataclasses.replace(entry, default=value)


def chosen_options(values: Mapping[str, Any]) -> dict[str, Setting]:
    """The options that the parts of a run have, by their paths.

    Args:
        values: Setting path -> value, at least of the settings that name parts.
    """
    found: dict[str, Setting] = {}
    for slot in all_slots():
        for name in slot.chosen(values):
            for option in slot.options(name):
                found.setdefault(option.path, option)
    return found


def to_flat(settings: Settings) -> dict[str, Any]:
    """Setting path -> value, of which JSON and YAML can be made."""
    flat: dict[str, Any] = {}
    for path, (first, *_) in schema().items():
        if not first.owner:
            value: Any = settings
            for part in path.split("."):
                value = getattr(value, part)
            flat[path] = value
    flat["stages"] = tuple(dataclasses.asdict(stage) for stage in settings.stages)
    options = chosen_options(flat)
    return {
        path: flat[path] if path in flat else settings.options.get(path, options[path].default)
        for path in schema()
        if path in flat or path in options
    }


def slot_of(path: str) -> Slot | None:
    """The place whose part a setting names; None if it names none."""
    return next((slot for slot in all_slots() if path and slot.setting == path), None)


def description(path: str) -> str:
    """What a setting means, for help and docs: of an option, of each part that has it."""
    entries = schema()[path]
    text = entries[0].help
    if entries[0].owner:
        owners: dict[str, list[str]] = {}
        for one in entries:
            owners.setdefault(one.help, []).append(one.owner)
        text = " ".join(f"{', '.join(names)}: {meaning}" for meaning, names in owners.items())
    if slot := slot_of(path):
        text += f" Choices: {', '.join((*slot.also, *slot.registry))}."
    default = entries[0].default
    shown = "none" if default in (None, ()) else default
    return f"{text} [{shown}]"


def unknown_setting(path: str) -> str:
    """The message for a path that is no setting: the closest ones, and those of its section."""
    path = path[:80]
    paths = list(schema())
    section = path.rpartition(".")[0]
    inside = [one for one in paths if section and one.rpartition(".")[0] == section]
    sections = sorted({one.partition(".")[0] for one in paths if "." in one})
    # The name alone is looked for too: lr is optimizer.lr.
    last = path.rpartition(".")[2]
    near = [one for one in paths if one.rpartition(".")[2] == last]
    near += difflib.get_close_matches(path, inside or [*paths, *sections], n=3, cutoff=0.6)
    near = list(dict.fromkeys(near))[:4]

    def named(one: str) -> str:
        owners = [setting.owner for setting in schema().get(one, ()) if setting.owner]
        return repr(one) + (f" (of {', '.join(owners)})" if owners else "")

    hint = f" Did you mean {named(near[0])}?" if near else ""
    hint += f" Or {' or '.join(map(named, near[1:]))}?" if near[1:] else ""
    listed = (
        f"{section} has {', '.join(one.rpartition('.')[2] for one in inside)}"
        if inside
        else f"The sections are {', '.join(sections)}"
    )
    return f"unknown setting {path!r}.{hint} {listed}; mixseg ssl --help says what each means"
