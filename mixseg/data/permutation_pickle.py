"""The pickled permutations of ClassMix and DACS, read without running what a pickle may contain.

Unpickling calls whatever the file names. Here the few names that a pickled array needs stand for
inert records, so not even NumPy's own reconstruction sees the content before it is checked.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from mixseg.errors import DataError
from mixseg.files import check_pickle, read_bytes

MAX_BYTES = 16_000_000
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
        content = read_bytes(path, MAX_BYTES)
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
    """What a pickled array or dtype says: the arguments that it is made with, and its state."""

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
