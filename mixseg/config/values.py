"""From what files, flags and programs give to values of a type."""

from __future__ import annotations

import re
import sys
import types
import typing
from pathlib import Path
from typing import Any, Literal, final

from mixseg.config.ranges import Range
from mixseg.errors import ConfigError
from mixseg.strict_yaml import parse_yaml

Size = tuple[int, int]
"""Height and width in pixels."""


def value_of(hint: Any, given: Any) -> Any:
    """A value of a type; texts are read as in YAML files, whoever gives them.

    A list of numbers may be written 0.5,2 or [0.5, 2], a size 512x1024 as well, and no value none
    or null.

    Args:
        hint: bool, int, float, str, a Literal, a tuple or dict[str, float] of them, or one of these
            or None.
        given: What is to be converted.

    Raises:
        ValueError: It is of another type, or a number that is not finite.
    """
    kinds = _kinds(hint)
    if given == "none" and None in kinds and str not in kinds:
        given = None
    if given is None and None in kinds:
        return None
    if isinstance(given, str) and kinds[0] is not str and typing.get_origin(kinds[0]) != Literal:
        given = _read(kinds[0], given)
    return _converted(kinds[0], given)


def wanted(hint: Any, allowed: Range | None = None) -> str:
    """What :func:`value_of` takes, and the range of its numbers, for people."""
    kinds = _kinds(hint)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    origin, arguments = typing.get_origin(kinds[0]), typing.get_args(kinds[0])
    if kinds[0] == Size:
        said = "HEIGHTxWIDTH"
    elif origin is Literal:
        said = f"one of {', '.join(arguments)}"
    elif origin is tuple:
        count = "" if Ellipsis in arguments else f"{len(arguments)} "
        whole = "whole " if arguments[0] is int else ""
        example = "1,2" if len(arguments) < 3 else "1,2,3"
        said = f"{count}{whole}numbers such as {example}"
    elif origin is dict:
        said = "numbers by name such as {a: 1, b: 2}"
    else:
        said = names[kinds[0]]
    if allowed is not None:
        said += f"{', sides' if kinds[0] == Size else ''} {allowed}"
    return f"{said}, or none" if None in kinds else said


@final
class FlagType:
    """The type of a flag: reads what is typed; a class because ``--help`` prints it."""

    def __init__(self, flag: str, hint: Any, allowed: Range | None = None) -> None:
        """Args: the flag, for messages; the type of its value; the range of its numbers."""
        self.flag, self.hint, self.allowed = flag, hint, allowed

    def __call__(self, given: Any) -> Any:
        """The value.

        Raises:
            ConfigError: It is of another type or out of range.
        """
        if not isinstance(given, str):  # the parser checks once more what it has read
            return given
        try:
            if str in _kinds(self.hint):
                # Unlike in a file, only null has a meaning: a name may look like a number.
                return None if given == "null" else given
            value = value_of(self.hint, None if given == "null" else given)
            if self.allowed is not None and not self.allowed.holds(value):
                raise ValueError(f"not {self.allowed}")
        except ValueError as error:
            raise ConfigError(f"{self.flag}: expected {self!r}, found {given[:80]!r}") from error
        return value

    def __repr__(self) -> str:
        return wanted(self.hint, self.allowed)


def _kinds(hint: Any) -> list[Any]:
    """The types that a value may have; None comes last."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
        return [*kinds, None]
    return [hint]


def _read(kind: Any, text: str) -> Any:
    """What a text says that is to be something else than a text."""
    if kind == Size and (size := re.fullmatch(r"(\d{1,9})x(\d{1,9})", text)):
        return [int(size[1]), int(size[2])]
    if typing.get_origin(kind) is tuple:
        inner = re.fullmatch(r"\s*\[(.*)\]\s*", text)
        numbers = (inner[1] if inner else text).strip()
        return [_scalar(one) for one in re.split(r"\s*,\s*|\s+", numbers)] if numbers else []
    return _scalar(text)


def _scalar(text: str) -> Any:
    try:
        return parse_yaml(f"value: {text}", Path("value")).data["value"]
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _converted(kind: Any, given: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    number = type(given) in (int, float)
    if origin is Literal:
        fits = isinstance(given, str) and given in arguments
    elif origin is tuple and isinstance(given, list | tuple):
        parts = arguments[:1] * len(given) if Ellipsis in arguments else arguments
        return tuple(_converted(part, one) for part, one in zip(parts, given, strict=True))
    elif origin is dict and isinstance(given, dict):
        return {
            _converted(arguments[0], key): _converted(arguments[1], one)
            for key, one in given.items()
        }
    elif kind is float:
        fits = number and abs(given) <= sys.float_info.max  # not NaN, nor what float() refuses
    elif kind is str:
        fits = number or isinstance(given, str)  # `labeled: 372` is a number to YAML
    else:
        fits = type(given) is kind
    if not fits:
        raise ValueError(f"not {wanted(kind)}")
    return given if origin is Literal else kind(given)
