"""Reading regular files and nothing else; writing them so that a reader never sees half of one."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, final

from mixseg.errors import ConfigError

MAX_BYTES = 2**30
"""Largest file that is read whole unless its reader has a limit of its own."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; a link to one counts as one.

    A pipe would keep its reader waiting for ever, and a device may never end. What was opened is
    looked at, not the path before, so nothing can take its place in between.

    Raises:
        OSError: There is no such file, it may not be read, or it is a folder, pipe or device.
    """
    # Without O_NONBLOCK, opening a pipe waits for somebody who writes; files do not heed it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "no file")
            raise OSError(errno.EINVAL, f"is {kind}; only regular files are read", str(path))
    except BaseException:
        os.close(handle)
        raise
    with os.fdopen(handle, "rb") as file:
        yield file


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        limit: Most bytes that it may have, counted while it is read: it may be growing.

    Raises:
        OSError: As for :func:`opened`, or the file is larger.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        parts: list[bytes] = []
        count = 0
        while size <= limit:
            part = file.read(max(1 + size - count, 2**16))
            if not part:
                return b"".join(parts)
            parts.append(part)
            count += len(part)
            size = max(size, count)
    raise OSError(errno.EFBIG, f"{size} bytes; at most {limit} are read", str(path))


def read_text(
    path: Path, limit: int = MAX_BYTES, encoding: str = "utf-8", errors: str = "strict"
) -> str:
    """As :func:`read_bytes`, decoded, with every line end as a newline.

    Raises:
        OSError: As there.
        UnicodeDecodeError: The file is no such text.
    """
    content = io.BytesIO(read_bytes(path, limit))
    with io.TextIOWrapper(content, encoding=encoding, errors=errors) as text:
        return text.read()


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        OSError: As :func:`read_bytes`.
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one in each line, such as ``metrics.jsonl``.

    Lines that are not whole are left out: a log that a crash damaged is still worth reading.

    Raises:
        OSError: As :func:`read_bytes`.
    """
    lines = []
    for text in read_text(path, errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write to a temporary name beside ``path``, flush to disk, rename.

    The name cannot be guessed, and a file or link that has it already is never opened.

    Args:
        path: The file; what has this name is replaced.
        content: Text is encoded as UTF-8.
        durable: Whether it has to survive a power cut; waiting for the disk takes a while.

    Raises:
        OSError: The disk is full or not writable; the error names ``path``, which is as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    # Not by tempfile, whose files nobody but their owner may read.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the system names the temporary file, or none
        raise
    if durable:
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


@final
class FolderLock:
    """A folder locked against other processes, until it is closed or this process ends.

    Processes that are forked from this one let go of their copies: loader workers outlive a killed
    process for seconds.

    Attributes:
        held: Whether it is locked; some network drives lock no folders.
    """

    def __init__(self, folder: Path, file: str | None = None) -> None:
        """Lock a folder.

        Args:
            folder: To lock.
            file: Name of a file in it that is made and locked too. The folder's lock holds where
                somebody removes the file; the file's holds on network drives that lock no folders.

        Raises:
            BlockingIOError: Another process has locked it.
            OSError: There is no such folder, or it may not be read, or no file be made.
        """
        self._handles = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY)]
        self.held = True
        os.register_at_fork(after_in_child=self.close)
        try:
            if file is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._handles.append(os.open(folder / file, flags, 0o666))
                fcntl.flock(self._handles[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(self._handles[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                self.held = False
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        while self._handles:
            os.close(self._handles.pop())


def default_cache() -> Path:
    """``$MIXSEG_CACHE``, else ``$XDG_CACHE_HOME/mixseg``, else ``~/.cache/mixseg``."""
    if own := os.environ.get("MIXSEG_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "mixseg"
    return Path.home() / ".cache" / "mixseg"
