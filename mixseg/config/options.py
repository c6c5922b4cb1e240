"""Options of parts: the parameters with a default in the signature of a part."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

from docstring_parser import parse as parse_docstring
from docstring_parser import parse_from_object

from mixseg.config.values import Range, is_option_type


@final
@dataclass(frozen=True)
class At:
    """Puts an option elsewhere than in the section of its part: ``At("targets.threshold")``."""

    path: str


@final
@dataclass(frozen=True, init=False)
class Needs:
    """An option that does nothing unless one of these settings is given (and not none, 0, false).

    ``PATH=VALUE`` is a setting that has to have this value.
    ``help`` says how to give one of them.
    """

    paths: tuple[str, ...]
    help: str

    def __init__(self, *paths: str, help: str) -> None:
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "help", help)


@final
@dataclass(frozen=True)
class NeedsStream:
    """An option that does nothing in a method that does not take this stream of images."""

    stream: str


@final
@dataclass(frozen=True)
class NeedsPart:
    """A setting that does nothing in a method that does not ask for this part by a parameter."""

    parameter: str


@final
@dataclass(frozen=True)
class IsPath:
    """A setting that names a file or folder, unless it is one of these words."""

    words: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class ByRun:
    """A parameter that the run gives, though it has a default for those who call it from Python."""


@final
@dataclass(frozen=True)
class TakesStream:
    """An option of a method that makes it take a further stream unless it is 0, false or none."""

    stream: str


@final
@dataclass(frozen=True)
class Asks:
    """An option with which its part asks the run for something that it has only if it is asked.

    Attributes:
        parameter: By which the part is given it; or what the run is to do.
        value: Of the option, with which it asks; by default any but 0, false and none.
    """

    parameter: str
    value: Any = None

    def holds(self, value: Any) -> bool:
        """Whether a part asks, with this value of its option."""
        return bool(value) if self.value is None else bool(value == self.value)


@final
@dataclass(frozen=True)
class Setting:
    """One setting: what the command line, YAML files, help and saved copies know of it.

    Attributes:
        path: Such as ``mixing.proportion``.
        hint: Its type.
        default: Its value where nobody gives one; None where the field must be given.
        help: What it means.
        allowed: The range of its numbers.
        owner: Name of the part that has it; empty for a setting of every run.
        parameter: Name of the parameter or field.
        marks: What else its type is annotated with.
    """

    path: str
    hint: Any
    default: Any
    help: str
    allowed: Range | None = None
    owner: str = ""
    parameter: str = ""
    marks: tuple[Any, ...] = ()

    @classmethod
    def annotated(cls, name: str, hint: Any, default: Any, text: str, prefix: str) -> Setting:
        """From a field or parameter with an annotation; ``prefix`` is ``section.`` or empty."""
        marks: tuple[Any, ...] = ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *found = typing.get_args(hint)
            marks = tuple(found)
        ranges = [mark for mark in marks if isinstance(mark, Range)]
        places = [mark.path for mark in marks if isinstance(mark, At)]
        return cls(
            path=places[-1] if places else prefix + name,
            hint=hint,
            default=default,
            help=" ".join(text.split()),
            allowed=ranges[-1] if ranges else None,
            parameter=name,
            marks=marks,
        )


def parameters_of(part: Callable[..., Any]) -> dict[str, tuple[inspect.Parameter, Any]]:
    """Parameter -> it and the function that has it; those behind ``**kwargs`` of a class too."""
    found: dict[str, tuple[inspect.Parameter, Any]] = {}
    functions = (
        [vars(cls)["__init__"] for cls in part.__mro__[:-1] if "__init__" in vars(cls)]
        if isinstance(part, type)
        else [part]
    )
    for function in functions:
        parameters = list(inspect.signature(function).parameters.values())
        for one in parameters[isinstance(part, type) :]:
            if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
                found.setdefault(one.name, (one, function))
        if not any(one.kind == one.VAR_KEYWORD for one in parameters):
            break
    return found


def options_of(part: Callable[..., Any], section: str, owner: str) -> tuple[Setting, ...]:
    """The options of a part: parameters with a default whose values can stand in a YAML file.

    A parameter without an annotation has the type of its default.

    Args:
        part: A class, or a function that makes the part. ``Args:`` of its docstrings document the
            options.
        section: Where their paths begin.
        owner: Name of the part.
    """
    documents: dict[str, str] = {}
    for text in _docstrings(part):
        text = inspect.cleandoc(text)
        if text.startswith("Args: "):  # in one line, of one parameter
            told = " ".join(text.removeprefix("Args: ").split())
            text = f"Options.\n\nArgs:\n    {told}"
        documents |= {one.arg_name: one.description or "" for one in parse_docstring(text).params}
    found = []
    for name, (parameter, function) in parameters_of(part).items():
        if parameter.default is parameter.empty:
            continue
        hint = parameter.annotation
        if hint is parameter.empty:
            hint = type(parameter.default)
        if isinstance(hint, str):
            try:
                hint = eval(hint, function.__globals__)
            except NameError:  # an object, whose class is imported for type checkers alone
                continue
        text = documents.get(name, "")
        option = Setting.annotated(name, hint, parameter.default, text, f"{section}.")
        if is_option_type(option.hint) and ByRun() not in option.marks:
            found.append(dataclasses.replace(option, owner=owner))
    return tuple(found)


def _docstrings(part: Callable[..., Any]) -> Iterator[str]:
    """Docstrings of a function, or of a class, its bases and their initializers."""
    for one in reversed(part.__mro__[:-1] if isinstance(part, type) else [part]):
        yield vars(one).get("__doc__") or "" if isinstance(one, type) else one.__doc__ or ""
        if isinstance(one, type) and "__init__" in vars(one):
            yield vars(one)["__init__"].__doc__ or ""


@functools.cache
def fields_of(kind: Any, prefix: str = "") -> tuple[Setting, ...]:
    """The fields of a settings class, documented below each; a default of None if it has none."""
    documents = {one.args[1]: one.description or "" for one in parse_from_object(kind).params}
    hints = typing.get_type_hints(kind, include_extras=True)
    return tuple(
        Setting.annotated(
            field.name,
            hints[field.name],
            None if field.default is dataclasses.MISSING else field.default,
            documents.get(field.name, ""),  # a section has its own docstring
            prefix,
        )
        for field in dataclasses.fields(kind)
    )
