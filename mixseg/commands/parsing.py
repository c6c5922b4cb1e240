"""From what was typed to values; what cannot be read is an error for people."""

from __future__ import annotations

import re
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mixseg.config import GROUP_FLAGS, FlagType, Range, Size, spelled_out
from mixseg.errors import ConfigError, unknown_name


def new_parser(program: str, description: str) -> ArgumentParser:
    """A parser that raises where argparse would exit, and takes no abbreviated flags."""
    return ArgumentParser(
        prog=program, description=description, exit_on_error=False, allow_abbrev=False
    )


def adder(parser: ArgumentParser) -> Callable[..., None]:
    """A function that gives a parser a flag, or a word without one, whose value is text by default.

    Its arguments are the name, what ``--help`` says, the type of the value, and the range of its
    numbers; others are those of argparse.
    """

    def add(
        name: str, about: str, kind: Any = str, allowed: Range | None = None, **how: Any
    ) -> None:
        typed = kind if allowed is None else FlagType(name, kind, allowed)
        parser.add_argument(name, help=about, type=typed, **how)

    return add


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse, and turn what argparse says into an error that names the closest flag.

    Raises:
        ConfigError: A flag is unknown or missing, or its value is of another type.
    """
    flags = [flag for action in parser._actions for flag in action.option_strings]
    groups = {name: path for name, path in GROUP_FLAGS.items() if path in flags}
    try:
        return parser.parse_args(spelled_out(arguments, groups))
    except ArgumentError as error:
        text = _for_people(_with_flags(error.message, parser))
        for short, path in groups.items():
            text = text.replace(f"{path}:", f"{short}:")
        unknown = re.search(r"unrecognized arguments: (--[\w.-]+)", text)
        if unknown is not None:
            message = unknown_name("flag", unknown[1], [*flags, *groups], "--help lists all")
            raise ConfigError(message) from error
        raise ConfigError(text) from error


def _with_flags(message: str, parser: ArgumentParser) -> str:
    """What argparse says, with flags as they are typed in place of names that programs use."""
    names = {action.dest: action.option_strings for action in parser._actions}

    def flag(name: str) -> str:
        spelled = names.get(name) or [name]
        return f"--{name}" if f"--{name}" in spelled else spelled[0]

    missing = re.fullmatch(r"the following arguments are required: (.*)", message)
    if missing is not None:
        return f"missing arguments: {', '.join(map(flag, missing[1].split(', ')))}"
    return re.sub(r"Parser key \"([^\"]+)\"", lambda key: flag(key[1]), message)


def _for_people(message: str) -> str:
    """What jsonargparse says of a value, without the names of Python's types around it."""
    text = " ".join(re.sub(r"<class '(\w+)'>", r"\1", message).split())
    choices = re.search(r"^(--\S+: ).*?Literal\[(.*?)\].* Given value: (.*)$", text)
    if choices is not None:
        return f"{choices[1]}expected one of {choices[2]}, found {choices[3]!r}"
    return text


_NEGATIVE = re.compile(r"-[\d.]")


def with_joined(arguments: Sequence[str], flags: tuple[str, ...]) -> list[str]:
    """Let a list flag be given several times: ``--set a=1 --set b=2`` is ``--set a=1 b=2``."""
    rest: list[str] = []
    collected: dict[str, list[str]] = {flag: [] for flag in flags}
    target: list[str] = rest
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if argument in collected:
            target = collected[argument]
        elif separator and name in collected:
            collected[name].append(value)
            target = rest
        elif argument.startswith("-") and not _NEGATIVE.match(argument):
            target = rest
            rest.append(argument)
        else:
            target.append(argument)
    for flag, values in collected.items():
        if values or flag in arguments:
            # argparse takes -1,2 for a flag, but not with a blank before it.
            rest += [flag, *(f" {one}" if _NEGATIVE.match(one) else one for one in values)]
    return rest


def listed(given: str) -> list[str]:
    """The names in a,b or [a, b]."""
    return [name.strip() for name in given.strip().removeprefix("[").removesuffix("]").split(",")]


def height_and_width(flag: str, text: str) -> tuple[int, int]:
    """Pixels from a text such as 512x1024.

    Raises:
        ConfigError: It is something else, or out of range; the message names ``flag``.
    """
    size: tuple[int, int] = size_type(flag)(text)
    return size


def size_type(flag: str) -> FlagType:
    """The type of a flag that takes the height and width of images."""
    return FlagType(flag, Size, Range(1, 16_384))


def check_folder(flag: str, file: str | Path | None) -> None:
    """Refuse a file whose folder is not there, before a command works for hours.

    Raises:
        ConfigError: The folder is missing, or the file is a folder; the message names ``flag``.
    """
    if file is not None and Path(file).is_dir():
        raise ConfigError(f"{flag} {file}: is a folder; give the name of a file")
    if file is not None and not Path(file).absolute().parent.is_dir():
        raise ConfigError(f"{flag} {file}: there is no such folder")


def file_of_format(flag: str, file: str | None, endings: Iterable[str]) -> Path | None:
    """The file that a flag names, if it was given, whose ending says its format.

    Raises:
        ConfigError: The ending is another one.
    """
    if file is None:
        return None
    if Path(file).suffix not in endings:
        raise ConfigError(f"{flag} {file}: the name must end in one of {', '.join(endings)}")
    return Path(file)
