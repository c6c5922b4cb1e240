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
from mixseg.files import read_bytes
from mixseg.pickle_limits import check_pickle

MAX_BYTES = 16_000_000
"""Largest file that is read; two million indices."""

MAX_OPCODES = 200
"""Most opcodes of its pickle; an array takes about fifty."""


def read_permutation(path: Path, size: int) -> NDArray[np.int64]:
    """A pickled permutation of ``range(size)``, int64, shape (size,).

    Args:
        path: Pickle of a 1-D integer array.
        size: Number of images in the data set.

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
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: unsafe or damaged, for a permutation: {error}; nothing was executed"
        ) from error
    # The pickle machine lets any of the interpreter's errors escape on damaged input; the records
    # below have no side effects, so nothing can have happened.
    except Exception as error:
        raise DataError(
            f"{path}: is not a pickled array: {type(error).__name__} {error}"
        ) from error
    if not isinstance(record, _ArrayRecord):
        raise DataError(f"{path}: holds a {type(record).__name__}, expected an integer array")
    array = record.array(path)
    if array.shape != (size,) or not np.array_equal(np.sort(array), np.arange(size)):
        raise DataError(
            f"{path}: holds {array.size} numbers that are not a permutation of 0 to {size - 1}; "
            "is it the split of another data set?"
        )
    return array


@final
class _DtypeRecord:
    """What a pickled dtype says: its code and, in its state, the byte order."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code
        self.order: object = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


@final
class _ArrayRecord:
    """What a pickled array says: (version, shape, dtype, Fortran order, bytes)."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self, path: Path) -> NDArray[np.int64]:
        match self.state:
            case (_, (int(count),), _DtypeRecord(code=("i8" | "i4") as code, order=order), _, raw):
                if isinstance(raw, bytes) and order in ("<", ">", "="):
                    dtype = np.dtype(f"{order}{code}")
                    if len(raw) == count * dtype.itemsize:
                        return np.frombuffer(raw, dtype=dtype).astype(np.int64)
        raise DataError(f"{path}: is not a pickled 1-D array of 4- or 8-byte integers")


def _reconstruct(*_: object) -> _ArrayRecord:
    return _ArrayRecord()


def _encode(text: object, encoding: object) -> bytes:
    """Stands for ``_codecs.encode``, with which old protocols spell bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise DataError("unsafe: encodes something else than bytes; nothing was executed")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _ArrayRecord,
    ("numpy", "dtype"): _DtypeRecord,
    ("_codecs", "encode"): _encode,
}


@final
class _PermutationUnpickler(pickle.Unpickler):
    """Knows the names a pickled array consists of and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise DataError(
                f"unsafe: the pickle asks for {module}.{name}, which a permutation does not "
                "need; nothing was executed"
            ) from None
