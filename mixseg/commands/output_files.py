"""Files and folders that a command is to write, looked at before it works for hours."""

from __future__ import annotations

from pathlib import Path

from mixseg.distributed import by_first
from mixseg.errors import ConfigError


def check_folder(flag: str, file: str | Path | None) -> None:
    """Refuse a file whose folder is not there; None, where the flag was not given, is fine.

    Raises:
        ConfigError: The folder is missing, or the file is a folder; the message names ``flag``.
    """
    if file is not None and Path(file).is_dir():
        raise ConfigError(f"{flag} {file}: is a folder; give the name of a file")
    if file is not None and not Path(file).absolute().parent.is_dir():
        raise ConfigError(f"{flag} {file}: there is no such folder")


def new_folder(path: Path, flag: str) -> Path:
    """An empty folder, made by the first process.

    Raises:
        ConfigError: It holds something, or cannot be made; the message names ``flag``.
    """
    by_first(lambda: _make(path, flag))
    return path


def _make(path: Path, flag: str) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{flag} {path}: exists and is not empty; nothing is overwritten")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag} {path}: cannot be made: {error.strerror}") from error
