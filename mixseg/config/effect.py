"""What a run uses of its settings: flags that do nothing are refused, as people mean them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mixseg.config.flags import flag_of
from mixseg.config.options import (
    Asks,
    Needs,
    NeedsPart,
    NeedsStream,
    Setting,
    TakesStream,
    parameters_of,
)
from mixseg.config.schema import schema, slot_of
from mixseg.errors import ConfigError
from mixseg.registry import METHODS, SLOTS, Slot, all_slots


def streams_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the streams of images that a method takes, from setting path -> value."""
    method = values["method"]
    streams: tuple[str, ...] = getattr(METHODS.signature(method), "streams", ())
    for option in METHODS.options(method):
        for mark in option.marks:
            if isinstance(mark, TakesStream) and values.get(option.path):
                streams += (mark.stream,)
    return streams


def asked_of_run(values: Mapping[str, Any]) -> frozenset[str]:
    """What the parts of a run ask it for: parameters without a default, and :class:`Asks`.

    Args:
        values: Setting path -> value, of all settings.
    """
    asked: set[str] = set()
    for slot in used_slots(values):
        for name in slot.chosen(values):
            for parameter, (one, _) in parameters_of(slot.registry.signature(name)).items():
                if one.default is one.empty:
                    asked.add(parameter)
            for option in slot.options(name):
                for mark in option.marks:
                    if isinstance(mark, Asks) and mark.holds(values.get(option.path)):
                        # What has no effect is not asked for either.
                        asked.update(() if _marks(option, values) else (mark.parameter,))
    return frozenset(asked)


def command_of(method: str) -> str:
    """The command that trains with a method."""
    command: str = getattr(METHODS.signature(method), "command", "ssl")
    return command


def method_of(command: str) -> str:
    """The built-in method that a command trains with by default; another word stays as it is."""
    built_in = (one for one in METHODS if METHODS.signature(one).__module__.startswith("mixseg."))
    return next((name for name in built_in if command_of(name) == command), command)


def is_baseline(method: str) -> bool:
    """Whether other methods are compared with a method, on the data of their command."""
    return bool(getattr(METHODS.signature(method), "baseline", False))


def takes_part(method: str, parameter: str) -> bool:
    """Whether a method asks for a part, such as ``mixer``, by a parameter."""
    return parameter in parameters_of(METHODS.signature(method))


def asked_for(values: Mapping[str, Any], parameter: str) -> bool:
    """Whether the method of settings, or a part of it that they choose, asks for a parameter."""
    if takes_part(values["method"], parameter):
        return True
    return any(
        parameter in parameters_of(slot.registry.signature(name))
        for slot in used_slots(values)
        for name in slot.chosen(values)
    )


def check_flags(flags: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Refuse flags that do nothing.

    Files may hold such settings, so that one file serves runs with and without a part. A baseline
    method takes the flags of the methods that it is compared with, so that one word makes it of
    their command.

    Args:
        flags: Paths of settings that were typed, such as ``mixing.mixer``.
        values: Setting path -> value, of the run that follows.

    Returns:
        Flags of a baseline that do nothing in it, and something in another method.

    Raises:
        ConfigError: A flag does nothing; the message names it and what it needs.
    """
    compared = [values]
    if is_baseline(values["method"]):
        compared += [{**values, "method": name} for name in METHODS]
    without_effect = []
    for path in flags:
        reason = idle(path, values)
        if not reason:
            continue
        if all(idle(path, other) for other in compared):
            raise _does_nothing(path, reason)
        without_effect.append(flag_of(path))
    return without_effect


def check_parts(flags: Iterable[str], method: str) -> None:
    """Refuse flags that name a part which a method does not take, whatever its other settings are.

    Raises:
        ConfigError: As :func:`check_flags`.
    """
    for path in flags:
        if slot_of(path) and not is_baseline(method) and (reason := idle(path, {"method": method})):
            raise _does_nothing(path, reason)


def _does_nothing(path: str, reason: str) -> ConfigError:
    return ConfigError(f"{flag_of(path)} does nothing without {reason}")


def idle(path: str, values: Mapping[str, Any]) -> str:
    """What a setting would need to have an effect; empty if it has one."""
    entries = schema()[path]
    if slot := slot_of(path):
        return "" if slot in used_slots(values) else _methods_with(slot.parameter)
    if not entries[0].owner:
        return _marks(entries[0], values)
    owners = {
        name for slot in used_slots(values) for name in slot.having(path, slot.chosen(values))
    }
    here = next((one for one in entries if one.owner in owners), None)
    return _marks(here, values) if here else _how_to_choose(path, values)


def used_slots(values: Mapping[str, Any]) -> list[Slot]:
    """The places of :data:`mixseg.registry.SLOTS` whose parts a run has."""
    asked = parameters_of(METHODS.signature(values["method"]))
    return [slot for slot in all_slots() if not slot.parameter or slot.parameter in asked]


def _methods_with(parameter: str) -> str:
    names = (name for name in METHODS if takes_part(name, parameter))
    return f"a method that takes it: {', '.join(names)}"


def _marks(setting: Setting, values: Mapping[str, Any]) -> str:
    for mark in setting.marks:
        if isinstance(mark, NeedsStream) and mark.stream not in streams_of(values):
            takes = [
                f"{flag_of(one.path)} 1"
                for one in METHODS.options(values["method"])
                if TakesStream(mark.stream) in one.marks
            ]
            return " or ".join(takes) or f"{mark.stream} images to train on"
        if isinstance(mark, NeedsPart) and not asked_for(values, mark.parameter):
            return _methods_with(mark.parameter)
        if isinstance(mark, Needs) and not any(_given(one, values) for one in mark.paths):
            return mark.help
    return ""


def _given(path: str, values: Mapping[str, Any]) -> bool:
    path, is_one_of_many, wanted = path.partition("=")
    if is_one_of_many:
        return bool(values.get(path) == wanted)
    if path == "built-in scenes":
        source = values["source_domain.dataset"]
        return values["data.root"] is None or (
            source is not None and values["source_domain.root"] is None
        )
    return values.get(path) not in (None, False, 0, (), "none")


def _how_to_choose(path: str, values: Mapping[str, Any]) -> str:
    """Which flags give a run a part that has an option."""
    found: list[str] = []
    used = used_slots(values)
    for slot in all_slots():
        names = slot.having(path, slot.all_names())
        if not names or (slot is SLOTS.labeled_mix and SLOTS.mixer in used and found):
            continue
        if slot in used:
            found.append(f"{flag_of(slot.setting)} {' or '.join(names)}")
        else:
            found.append(_methods_with(slot.parameter))
    return "; or ".join(dict.fromkeys(found))
