"""Names of files and classes: names that look the same are the same.

An accented letter is one character, or a letter and its accent, depending on the system that wrote
it: macOS decomposes names of files, most editors do not.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, final

from mixseg.config.yaml import load_yaml
from mixseg.errors import DataError, unknown_name


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC), in which names are compared and recorded."""
    return unicodedata.normalize("NFC", name)


def composed_keys(given: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    """A mapping whose keys are names, in their composed form; other keys stay as they are.

    Raises:
        DataError: Two keys have the same composed form.
    """
    found: dict[Any, Any] = {}
    for key, value in given.items():
        name = composed(key) if isinstance(key, str) else key
        if name in found:
            raise DataError(f"{where}: {name!r} is there twice, in two forms of Unicode")
        found[name] = value
    return found


def read_by_class(
    file: Path, names: tuple[str, ...], kind: str, problem: Callable[[Any], str]
) -> dict[str, Any]:
    """Class -> value, from a YAML file with a line ``CLASS: VALUE`` for each class.

    ``names`` are all classes, and ``kind`` is the word for one in messages; ``problem`` returns
    what is wrong with a value, or an empty string.

    Raises:
        DataError: A class is unknown, or a value is wrong; the message has the line.
        ConfigError: The file is not strict YAML.
    """
    loaded = load_yaml(file)
    given = composed_keys(loaded.data, str(file))
    for key, (name, value) in zip(loaded.data, given.items(), strict=True):
        wrong = problem(value) if name in names else unknown_name(kind, str(name), names)
        if wrong:
            raise DataError(f"{file}, line {loaded.line((key,))}: {wrong}")
    return given


def two_forms(first: Path, second: Path) -> DataError:
    """The error for two files whose names look the same; it shows them with escapes."""
    return DataError(
        f"{str(first)!a} and {str(second)!a} have the same name in two forms of Unicode; "
        "rename or remove one"
    )


@final
class FilesByName:
    """Finds files below a folder by relative paths, in any form of Unicode."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def find(self, name: str) -> Path | None:
        """The file of a path with forward slashes; None if there is none.

        Raises:
            DataError: Two entries of a folder have the same name but for the form of Unicode.
        """
        path = self._folder / name
        if name.isascii():
            return path if path.is_file() else None
        path = self._folder
        for part in PurePosixPath(name).parts:
            found = self._entries(path).get(composed(part), [])
            if len(found) > 1:
                raise two_forms(found[0], found[1])
            if not found:
                return None
            path = found[0]
        return path if path.is_file() else None

    def _entries(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._listed:
            entries: dict[str, list[Path]] = {}
            for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
                entries.setdefault(composed(entry.name), []).append(entry)
            self._listed[folder] = entries
        return self._listed[folder]
