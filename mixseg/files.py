"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from mixseg.errors import ConfigError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to a temporary name beside ``path``, flush to disk, rename.

    Raises:
        OSError: The disk is full or not writable; the error names ``path``, which is as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    # Not by tempfile, whose files nobody but their owner may read.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the system names the temporary file, or none
        raise
    flush_folder(path.parent)


def not_written(path: Path, error: OSError) -> str:
    """What a run says when the system does not take a file of it."""
    return (
        f"{path}: could not be written: {error.strerror or error}. Earlier checkpoints are intact; "
        "once there is room and the folder is writable, go on with --resume"
    )


def check_unused(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse, before hours of work, files that could not be written or would be overwritten.

    Raises:
        ConfigError: A file exists already, or is to lie in a folder that does not or that nobody
            may write to.
    """
    for path in paths:
        folder = path.absolute().parent
        if not folder.is_dir():
            raise ConfigError(f"{path}: there is no folder {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{path}: files cannot be written into {folder}")
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder")
        if path.exists() and not overwrite:
            raise ConfigError(f"{path}: exists already; --overwrite replaces it")


def flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
