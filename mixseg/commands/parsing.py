"""From what was typed to values; what cannot be read is an error for people."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, final

from mixseg.config.values import FlagType, Range, Size
from mixseg.errors import ConfigError, unknown_name
from mixseg.plugins import import_parts, import_recorded
from mixseg.strict_yaml import load_yaml

ArgumentParser = argparse.ArgumentParser
Namespace = argparse.Namespace


@final
class _Parser(ArgumentParser):
    """Raises where argparse would print and exit, and takes no abbreviated flags."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(_with_flags(message, self))


def new_parser(program: str, description: str) -> ArgumentParser:
    """A parser for a command; every command takes ``--import``."""
    parser = _Parser(prog=program, description=description, allow_abbrev=False)
    parser.add_argument(
        "--import",
        dest="import_names",
        action="append",
        default=[],
        metavar="FILE|MODULE",
        help="Python file or module with parts of your own; may be repeated. A run remembers it",
    )
    return parser


def import_first(arguments: Sequence[str]) -> None:
    """Import what ``--import``, files and a resumed run name: options of parts are flags too."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--import", dest="import_names", action="append", default=[])
    for flag in ("--resume", "--base", "--config"):
        parser.add_argument(flag, dest="files", action="extend", nargs="+", default=[])
    given = parser.parse_known_args(list(arguments))[0]
    import_parts(given.import_names)
    for name in given.files:
        path = Path(name).expanduser()
        path = path / "config.yaml" if path.is_dir() else path
        content = {}
        with contextlib.suppress(ConfigError):  # said where it is used; a run can do without
            content = load_yaml(path).data
        import_recorded(content.get("imports"), name)


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
    """Parse, import what ``--import`` names, and name the closest flag for an unknown one.

    Raises:
        ConfigError: A flag is unknown or missing, or its value is of another type.
    """
    parsed, rest = parser.parse_known_args(list(arguments))
    if rest:
        unknown = next((one for one in rest if one.startswith("--")), None)
        if unknown is None:
            raise ConfigError(f"unrecognized arguments: {' '.join(rest)}")
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise ConfigError(
            unknown_name("flag", unknown.partition("=")[0], flags, "--help lists all")
        )
    parsed.import_names = list(import_parts(parsed.import_names))
    return parsed


def _with_flags(message: str, parser: ArgumentParser) -> str:
    """What argparse says, with flags as they are typed in place of names that programs use."""
    names: dict[str, Any] = {action.dest: action.option_strings for action in parser._actions}
    missing = re.fullmatch(r"the following arguments are required: (.*)", message)
    if missing is not None:
        asked = [(names.get(name) or [name])[0] for name in missing[1].split(", ")]
        return f"missing arguments: {', '.join(asked)}"
    return re.sub(r"^argument ([^:/]+)[^:]*: ", r"\1: ", message)


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
