"""Parsers of the commands: flags, settings, and messages for what cannot be read.

What was typed is understood before torch is imported, which takes seconds: nothing that a command
needs for its flags imports torch.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, final

from mixseg.config.effect import check_flags
from mixseg.config.flags import add_settings_arguments, typed_overrides
from mixseg.config.presets import configuration_files, settings_from
from mixseg.config.schema import schema, to_flat
from mixseg.config.sections import Settings
from mixseg.config.values import FlagType, Range, Size
from mixseg.config.yaml import load_yaml
from mixseg.errors import ConfigError, unknown_name
from mixseg.plugins import import_parts, import_recorded
from mixseg.terminal import complain

Namespace = argparse.Namespace

SIDES = Range(1, 16_384)
"""Sides of images that commands take."""


class _Raising(argparse.ArgumentParser):
    """Raises where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(_with_flags(message, self))


@final
class Parser(_Raising):
    """The flags of a command; every command takes ``--import``."""

    def __init__(
        self, program: str, about: str, *, settings: bool = False, config: bool = True
    ) -> None:
        """Make a parser.

        Args:
            program: As it is typed, such as ``mixseg ssl``.
            about: What ``--help`` says first.
            settings: Whether it has ``--set``, and a flag for each setting.
            config: Whether it has ``--config`` then.
        """
        super().__init__(prog=program, description=about, allow_abbrev=False)
        self.has_settings = settings
        parts = "Python file or module with parts of your own; may be repeated. A run remembers it"
        self.add(
            "--import",
            parts,
            dest="import_names",
            action="append",
            default=[],
            metavar="FILE|MODULE",
        )
        many: dict[str, Any] = {"action": "extend", "nargs": "+", "default": []}
        if settings and config:
            presets = (
                "YAML file(s), or shipped presets such as folder-small, for photographs of your "
                "own on a small machine"
            )
            self.add("--config", presets, **many, metavar="FILE")
        if settings:
            any_setting = "any setting, for example model.backbone=resnet50"
            self.add("--set", any_setting, **many, dest="assignments", metavar="PATH=VALUE")

    def add(
        self, name: str, about: str, kind: Any = str, allowed: Range | None = None, **how: Any
    ) -> None:
        """Add a flag, or a positional argument.

        Args:
            name: With dashes.
            about: What ``--help`` says.
            kind: Type of its value.
            allowed: Range of its numbers.
            how: Further arguments of argparse.
        """
        if how.get("action") != "store_true":
            how["type"] = kind if allowed is None else FlagType(name, kind, allowed)
        self.add_argument(name, help=about, **how)

    def add_like(self, name: str, path: str, about: str, **how: Any) -> None:
        """Add a flag that takes the values of a setting."""
        setting = schema()[path][0]
        how.setdefault("metavar", "|".join(map(str, typing.get_args(setting.hint))) or None)
        self.add(name, about, FlagType(name, setting.hint, setting.allowed), **how)

    def read(self, arguments: Sequence[str]) -> Namespace:
        """Import what ``--import`` names, then parse; parts that are imported may have flags.

        Raises:
            ConfigError: A flag is unknown or missing, or its value is of another type; the message
                names the closest flag.
        """
        imported = _import_first(arguments)
        if self.has_settings:
            add_settings_arguments(self)
        parsed, rest = self.parse_known_args(list(arguments))
        if rest:
            unknown = next((one for one in rest if one.startswith("--")), None)
            if unknown is None:
                raise ConfigError(f"unrecognized arguments: {' '.join(rest)}")
            flags = [flag for action in self._actions for flag in action.option_strings]
            raise ConfigError(
                unknown_name("flag", unknown.partition("=")[0], flags, "--help lists all")
            )
        parsed.import_names = imported
        return parsed


def _import_first(arguments: Sequence[str]) -> list[str]:
    """Import what ``--import``, files and a resumed run name; returns the former."""
    parser = _Raising(add_help=False, allow_abbrev=False)
    parser.add_argument("--import", dest="import_names", action="append", default=[])
    for flag in ("--resume", "--base", "--config"):
        parser.add_argument(flag, dest="files", action="extend", nargs="+", default=[])
    given = parser.parse_known_args(list(arguments))[0]
    imported = import_parts(given.import_names)
    for name in given.files:
        path = Path(name).expanduser()
        path = path / "config.yaml" if path.is_dir() else path
        content = {}
        with contextlib.suppress(ConfigError):  # said where it is used; a run can do without
            content = load_yaml(path).data
        import_recorded(content.get("imports"), name)
    return list(imported)


def _with_flags(message: str, parser: argparse.ArgumentParser) -> str:
    """What argparse says, with flags as they are typed in place of names that programs use."""
    names: dict[str, Any] = {action.dest: action.option_strings for action in parser._actions}
    missing = re.fullmatch(r"the following arguments are required: (.*)", message)
    if missing is not None:
        asked = [(names.get(name) or [name])[0] for name in missing[1].split(", ")]
        return f"missing arguments: {', '.join(asked)}"
    return re.sub(r"^argument ([^:/]+)[^:]*: ", r"\1: ", message)


def any_settings(parsed: Namespace) -> Settings:
    """The settings of a command that takes those of any training command."""
    overrides = typed_overrides(parsed, parsed.assignments)
    files = configuration_files(parsed.config, overrides)
    settings = settings_from(files, overrides, parsed.import_names)
    # Not on standard output, which may be what the command was asked for.
    for line in without_effect(check_flags(overrides, to_flat(settings))):
        complain(line)
    return settings


def without_effect(flags: Sequence[str]) -> list[str]:
    """Notes on flags that a baseline takes, as the run it is compared with, and never reads."""
    return [f"note: {flag} has no effect in a supervised run" for flag in flags]


def listed(given: str) -> list[str]:
    """The names in a,b or [a, b]."""
    return [name.strip() for name in given.strip().removeprefix("[").removesuffix("]").split(",")]


def size_type(flag: str) -> FlagType:
    """The type of a flag that takes the height and width of images, such as 512x1024."""
    return FlagType(flag, Size, SIDES)


def check_folder(flag: str, file: str | Path | None) -> None:
    """Refuse a file whose folder is missing, before a command works for hours."""
    if file is not None and Path(file).is_dir():
        raise ConfigError(f"{flag} {file}: is a folder; give the name of a file")
    if file is not None and not Path(file).absolute().parent.is_dir():
        raise ConfigError(f"{flag} {file}: there is no such folder")


def file_of_format(flag: str, file: str | None, endings: Iterable[str]) -> Path | None:
    """The file that a flag names, if it was given; its ending has to be one of ``endings``."""
    if file is None:
        return None
    if Path(file).suffix not in endings:
        raise ConfigError(f"{flag} {file}: the name must end in one of {', '.join(endings)}")
    return Path(file)
