"""Reading regular files and nothing else; writing them so that a reader never sees half of one.

And what reading a pickle would take, before anybody reads it.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pickle
import pickletools
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


# Pickles ------------------------------------------------------------------------------------------
# A kilobyte is enough for a tuple that holds itself twice, forty times over: hashed as the key of a
# dictionary it takes for ever, and one nested a million times ends the process. Unpicklers that run
# no code build such things all the same, so the opcodes are counted first.

MAX_OPCODES = 2_000_000
"""Most opcodes; a checkpoint with 20,000 tensors has less than half of it."""

MAX_WORK = 20_000_000
"""Most values, with 16 bytes of text as one, that are put into others, counted each time."""

MAX_DEPTH = 100
"""Most values inside each other."""

_UNSAFE_NAMES = ("builtins bytearray", "__builtin__ bytearray")
"""Allocates as much as a number in the file says."""

_ADDS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
"""Opcodes that change the first thing that they take, and leave it on the stack."""


_TAKES = {
    one.name: (
        "mark" in (before := [part.name for part in one.stack_before]),
        before.index("mark") if "mark" in before else len(before),
    )
    for one in pickletools.opcodes
}
"""Name of an opcode -> whether it takes all down to a mark, and how many values below that."""


@final
class _Value:
    """A value that would be on the stack: how much is in it, and how deep."""

    __slots__ = ("depth", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.depth = 0

    def take(self, parts: list[_Value]) -> int:
        """Put values into this one; returns their size."""
        added = 0
        for part in parts:
            added += part.size
            self.depth = max(self.depth, 1 + part.depth)
        self.size += added
        return added


def check_pickle(file: BinaryIO, max_opcodes: int = MAX_OPCODES) -> None:
    """Read over one pickle, as far as its end.

    Args:
        file: Stands at the beginning of the pickle; left behind it.
        max_opcodes: Most opcodes that it may have.

    Raises:
        pickle.UnpicklingError: Reading it would take more than the limits.
        ValueError: It is damaged.
    """
    stack: list[_Value | None] = []  # None is a mark
    memo: dict[int, _Value] = {}
    work = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count >= max_opcodes:
            raise pickle.UnpicklingError(f"more than {max_opcodes} opcodes")
        name = opcode.name
        if name == "MARK":
            stack.append(None)
        elif name.endswith("GET"):
            if argument not in memo:
                raise ValueError(f"nothing was stored as {argument}")
            stack.append(memo[argument])
        elif name.endswith("PUT") or name == "MEMOIZE":
            index = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if index > max_opcodes:  # C's unpickler allocates up to it
                raise pickle.UnpicklingError(f"{index} as the number of a value")
            memo[index] = _top(stack)
        elif name == "DUP":
            stack.append(_top(stack))
        elif name == "POP" and stack and stack[-1] is None:
            stack.pop()
        else:
            if argument in _UNSAFE_NAMES:
                raise pickle.UnpicklingError(argument)
            parts = _taken(stack, *_TAKES[name])
            text = len(argument) // 16 if isinstance(argument, str | bytes) else 0
            target = parts.pop(0) if name in _ADDS else _Value(1 + text)
            work += target.take(parts)
            if target.depth > MAX_DEPTH:
                raise pickle.UnpicklingError(f"more than {MAX_DEPTH} values inside each other")
            if work > MAX_WORK:
                raise pickle.UnpicklingError(f"more than {MAX_WORK} values, most of them repeated")
            if opcode.stack_after:
                stack.append(target)


def _top(stack: list[_Value | None]) -> _Value:
    if not stack or stack[-1] is None:
        raise ValueError("its stack is empty")
    return stack[-1]


def _taken(stack: list[_Value | None], to_mark: bool, count: int) -> list[_Value]:
    """Take from the stack what an opcode takes, the lowest first."""
    taken: list[_Value] = []
    while to_mark and stack and (value := stack.pop()) is not None:
        taken.append(value)
    for _ in range(count):
        taken.append(_top(stack))
        stack.pop()
    return taken[::-1]


def default_cache() -> Path:
    """``$MIXSEG_CACHE``, else ``$XDG_CACHE_HOME/mixseg``, else ``~/.cache/mixseg``."""
    if own := os.environ.get("MIXSEG_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "mixseg"
    return Path.home() / ".cache" / "mixseg"
