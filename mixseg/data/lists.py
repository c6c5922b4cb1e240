"""Files that name samples, in the formats of published splits.

Lists have one entry per line: an id (VOC), an image path (U2PL), or image and label separated by a
space (UniMatch, ST++, CorrMatch) or by a tab with CRLF line ends (CPS).

ClassMix and DACS pickle a permutation. Unpickling calls whatever the file names; here the few names
that a pickled array needs stand for inert records, so not even NumPy's own reconstruction sees the
content before it is checked.
"""

from __future__ import annotations

import difflib
import io
import itertools
import pickle
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from mixseg.data.names import composed
from mixseg.data.pairing import without_ending
from mixseg.errors import DataError
from mixseg.files import check_pickle, read_bytes, read_text

MAX_LIST = 64_000_000
"""Largest list file that is read; a million paths."""

_DRIVE = re.compile(r"[A-Za-z]:")


class ListEntry(NamedTuple):
    """One line of a list file, in Unicode's composed form."""

    line: int  # counted from 1
    text: str  # the whole line, for ids that contain spaces
    image: str  # first column, a relative path with forward slashes or an id
    label: str | None  # second column


def read_list(path: Path, rebase: tuple[str, ...] = ()) -> list[ListEntry]:
    """The entries of a UTF-8 list file; empty lines are skipped.

    Prefixes in ``rebase`` are removed, for lists whose paths start at a folder of their author.

    Raises:
        DataError: The file is missing, too large or not text, or an entry is an absolute path,
            climbs with ``..`` or holds a NUL; the message gives file and line.
    """
    try:
        text = read_text(path, MAX_LIST, "utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"list file {path}: no such file") from error
    except OSError as error:
        raise DataError(f"list file {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"list file {path}: is not UTF-8 text") from error

    entries = []
    for number, raw in enumerate(composed(text).split("\n"), start=1):
        line = raw.rstrip("\r")
        columns = line.split("\t") if "\t" in line else line.split(maxsplit=1)
        columns = [column.strip() for column in columns if column.strip()]
        if columns:
            image, *label = (_relative(one, rebase, f"{path}, line {number}") for one in columns)
            entries.append(ListEntry(number, line, image, label[0] if label else None))
    return entries


def match_entries(path: Path, entries: Sequence[ListEntry], ids: Sequence[str]) -> list[int]:
    """Index into ``ids``, which all differ, of each entry of a list file.

    An entry is the id whose path ends like the entry's, without a file ending: lists name images
    from folders above or below the one that ids are relative to.

    Raises:
        DataError: An entry fits no id (the closest one is named) or several, or is listed twice.
    """
    exact = {key: index for index, key in enumerate(ids)}
    by_name: dict[str, list[int]] = {}
    for index, key in enumerate(ids):
        by_name.setdefault(_last(key), []).append(index)
    # Ids keep the endings of images whose names differ in nothing else; a list may leave them out.
    for index, key in enumerate(ids):
        name = _last(key)
        if without_ending(name) not in exact and without_ending(name) != name:
            by_name.setdefault(without_ending(name), []).append(index)

    def match(entry: ListEntry, where: str) -> int:
        wanted = without_ending(entry.image)
        for name in (entry.text, without_ending(entry.text), entry.image, wanted):
            if name in exact:
                return exact[name]
        last = (_last(entry.image), _last(wanted))
        candidates = next((by_name[name] for name in last if name in by_name), [])
        if not candidates:
            near = difflib.get_close_matches(wanted, ids, n=1, cutoff=0.5)
            hint = f" The closest one is {near[0]!r}." if near else ""
            raise DataError(f"{where}: {entry.image!r} is not in the data set.{hint}")
        tails = {
            index: max(
                _shared_tail(wanted, key) for key in (ids[index], without_ending(ids[index]))
            )
            for index in candidates
        }
        longest = max(tails.values())
        best = [index for index in candidates if tails[index] == longest]
        if len(best) > 1:
            names = ", ".join(repr(ids[index]) for index in best[:3])
            raise DataError(f"{where}: {entry.image!r} fits {len(best)} images: {names}")
        return best[0]

    matched: dict[int, int] = {}
    for entry in entries:
        where = f"{path}, line {entry.line}"
        index = match(entry, where)
        if index in matched:
            raise DataError(f"{where}: {ids[index]!r} is already listed in line {matched[index]}")
        matched[index] = entry.line
    return list(matched)


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _shared_tail(first: str, second: str) -> int:
    """Number of path components that two paths share, counted from the end."""
    pairs = zip(reversed(first.split("/")), reversed(second.split("/")), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _relative(name: str, rebase: tuple[str, ...], where: str) -> str:
    """The path with forward slashes; refused if it could lead out of the root."""
    prefix = next((p for p in rebase if name.startswith(p)), "")
    slashed = name.removeprefix(prefix).replace("\\", "/")
    absolute = slashed.startswith("/") or _DRIVE.match(slashed)
    if absolute or "\0" in slashed or ".." in slashed.split("/"):
        raise DataError(
            f"{where}: {name!r} escapes the root; entries are paths below it, without '..'"
        )
    return PurePosixPath(slashed).as_posix()


# Pickled permutations ----------------------------------------------------------------------------


MAX_PICKLE = 16_000_000
"""Largest file that is read; two million indices."""

MAX_OPCODES = 200
"""Most opcodes of its pickle; an array takes about fifty."""


def read_permutation(path: Path, size: int) -> NDArray[np.int64]:
    """A pickled permutation of ``range(size)``, int64, shape (size,).

    Raises:
        DataError: The file is missing, too large or damaged, needs anything but an integer array
            ("unsafe"), or is not a permutation of ``range(size)``.
    """
    try:
        content = read_bytes(path, MAX_PICKLE)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        check_pickle(io.BytesIO(content), MAX_OPCODES)
        record = _PermutationUnpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: unsafe or damaged, for a permutation: {error}; nothing was executed"
        ) from error
    # The pickle machine lets any of the interpreter's errors escape on damaged input; the records
    # below have no side effects, so nothing can have happened.
    except Exception as error:
        message = f"is not a pickled array: {type(error).__name__} {error}"
        raise DataError(f"{path}: {message}") from error
    array = _integers(record)
    if array is None:
        raise DataError(f"{path}: is not a pickled 1-D array of 4- or 8-byte integers")
    if array.shape != (size,) or not np.array_equal(np.sort(array), np.arange(size)):
        raise DataError(
            f"{path}: holds {array.size} numbers that are not a permutation of 0 to {size - 1}; "
            "is it the split of another data set?"
        )
    return array


@final
class _Record:
    """A pickled array or dtype: the arguments that it is made with, and its state."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _integers(record: object) -> NDArray[np.int64] | None:
    """The array of a record; its state is version, shape, dtype, Fortran order and bytes."""
    match record:
        case _Record(state=(_, (int(count),), _Record() as dtype, _, bytes(content))):
            match dtype.arguments, dtype.state:
                case ("i8" | "i4" as code, *_), (_, "<" | ">" | "=" as order, *_):
                    found = np.dtype(f"{order}{code}")
                    if len(content) == count * found.itemsize:
                        return np.frombuffer(content, dtype=found).astype(np.int64)
    return None


def _encode(text: object, encoding: object) -> bytes:
    """Stands for ``_codecs.encode``, with which old protocols spell bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it encodes something else than bytes")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Record,
    ("numpy._core.multiarray", "_reconstruct"): _Record,
    ("numpy", "ndarray"): _Record,
    ("numpy", "dtype"): _Record,
    ("_codecs", "encode"): _encode,
}


@final
class _PermutationUnpickler(pickle.Unpickler):
    """Knows the names a pickled array consists of and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]
