"""Values of settings: their types and ranges, and how texts and YAML are read as them."""

from __future__ import annotations

import re
import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, final

from mixseg.config.yaml import parse_yaml
from mixseg.errors import ConfigError

Size = tuple[int, int]
"""Height and width in pixels."""

NETWORKS = ("student", "teacher", "average")
"""What a run may save networks as; the average of a student that labels for it is a teacher."""

SEEDS = 2**63 - 1
"""The largest seed that every generator takes."""


@final
@dataclass(frozen=True)
class Range:
    """The numbers that a setting or flag may have; in lists and mappings, each of them.

    A type carries its range, ``Annotated[float, Range(0, 1)]``. Upper ends lie beyond what anybody
    needs, and below what takes the memory of a machine or never ends.

    Attributes:
        low: The smallest.
        high: The largest.
        below: Whether ``high`` itself is left out.
    """

    low: float
    high: float
    below: bool = False

    def holds(self, value: Any) -> bool:
        """Whether all numbers in a value are in the range."""
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple):
            return all(self.holds(one) for one in value)
        if not isinstance(value, int | float):
            return True
        return self.low <= value <= self.high and not (self.below and value == self.high)

    def __str__(self) -> str:
        high = "2^63 - 1" if self.high == SEEDS else _shown(self.high)
        return f"from {_shown(self.low)} to {'below ' * self.below}{high}"


def _shown(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:g}"


def AtLeast(low: float) -> Range:  # noqa: N802
    """A range without an upper end that anybody would reach."""
    return Range(low, 1e9)


Sides = Range(32, 16_384)
Factors = Range(0.01, 16)
Share = Annotated[float, Range(0, 1)]
Weight = Annotated[float, Range(0, 1e6)]
Temperature = Annotated[float, Range(0.01, 10_000)]
Rate = Annotated[float, Range(1e-12, 1e6)]
Batch = Annotated[int, Range(1, 65_536)]
Steps = Annotated[int, Range(1, 1e9)]
NoSteps = Annotated[int, Range(0, 1e9)]
"""A number of steps that may be 0."""


@final
class FlagText(str):
    """A value as it was typed on the command line, of which a text is made as it stands."""


def is_option_type(hint: Any) -> bool:
    """Whether values of a type can stand in a YAML file."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType, tuple, dict):
        known = (types.NoneType, Ellipsis)
        return all(one in known or is_option_type(one) for one in arguments)
    return hint in (bool, int, float, str) or origin is Literal


def value_of(hint: Any, given: Any, allowed: Range | None = None) -> Any:
    """A value of a type; texts are read as in YAML files, whoever gives them.

    A list of numbers may be written 0.5,2 or [0.5, 2], a size 512x1024 as well, and no value none
    or null.

    Args:
        hint: bool, int, float, str, a Literal, a tuple or dict[str, float] of them, or one of these
            or None.
        given: What is to be converted.
        allowed: The range of its numbers.

    Raises:
        ValueError: It is of another type, out of range, or a number that is not finite.
    """
    kinds = _kinds(hint)
    if isinstance(given, FlagText):
        given = str(given)
        if str in kinds:
            return given
    if given == "none" and None in kinds and str not in kinds:
        given = None
    if given is None and None in kinds:
        return None
    if isinstance(given, str) and kinds[0] is not str and typing.get_origin(kinds[0]) != Literal:
        given = _read(kinds[0], given)
    value = _converted(kinds[0], given)
    if allowed is not None and not allowed.holds(value):
        raise ValueError(f"not {allowed}")
    return value


def wanted(hint: Any, allowed: Range | None = None) -> str:
    """What :func:`value_of` takes, and the range of its numbers, for people."""
    kinds = _kinds(hint)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    origin, arguments = typing.get_origin(kinds[0]), typing.get_args(kinds[0])
    if kinds[0] == Size:
        said = "HEIGHTxWIDTH"
    elif origin is Literal:
        said = f"one of {', '.join(arguments)}"
    elif origin is tuple and arguments[0] is str:
        said = "names such as a,b"
    elif origin is tuple:
        count = "" if Ellipsis in arguments else f"{len(arguments)} "
        whole = "whole " if arguments[0] is int else ""
        example = "1,2" if len(arguments) < 3 else "1,2,3"
        said = f"{count}{whole}numbers such as {example}"
    elif origin is dict:
        said = "numbers by name such as {a: 1, b: 2}"
    else:
        said = names.get(kinds[0], "a list of stages")
    if allowed is not None:
        said += f"{', sides' if kinds[0] == Size else ''} {allowed}"
    return f"{said}, or none" if None in kinds else said


@final
class FlagType:
    """The type of a command's own flag; a class because ``--help`` prints it."""

    def __init__(self, flag: str, hint: Any, allowed: Range | None = None) -> None:
        """Args: the flag, for messages; the type of its value; the range of its numbers."""
        self.flag, self.hint, self.allowed = flag, hint, allowed

    def __call__(self, given: str) -> Any:
        """The value.

        Raises:
            ConfigError: It is of another type or out of range.
        """
        try:
            text = None if given == "null" else FlagText(given)
            return value_of(self.hint, text, self.allowed)
        except ValueError as error:
            raise ConfigError(f"{self.flag}: expected {self!r}, found {given[:80]!r}") from error

    def __repr__(self) -> str:
        return wanted(self.hint, self.allowed)


def _kinds(hint: Any) -> list[Any]:
    """The types that a value may have; None comes last."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
        return [*kinds, None]
    return [hint]


def _read(kind: Any, text: str) -> Any:
    """Read a text that stands for something else than a text."""
    if kind == Size and (size := re.fullmatch(r"(\d{1,9})x(\d{1,9})", text)):
        return [int(size[1]), int(size[2])]
    if typing.get_origin(kind) is tuple:
        inner = re.fullmatch(r"\s*\[(.*)\]\s*", text)
        numbers = (inner[1] if inner else text).strip()
        # White space may stand inside of a name.
        between = r"\s*,\s*" if typing.get_args(kind)[0] is str else r"\s*,\s*|\s+"
        return [_scalar(one) for one in re.split(between, numbers)] if numbers else []
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
