from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mixseg.data import permutation_pickle
from mixseg.data.permutation_pickle import read_permutation
from mixseg.errors import DataError
from tests.bombs import PICKLE_BOMBS

ORDER = np.random.default_rng(0).permutation(40)


def dumped(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<i4"])
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int, dtype: str) -> None:
    path = dumped(tmp_path / "p.pkl", ORDER.astype(dtype), protocol)
    read = read_permutation(path, 40)
    np.testing.assert_array_equal(read, ORDER)
    assert read.dtype == np.int64


def test_name_of_older_numpy(tmp_path: Path) -> None:
    path = dumped(tmp_path / "p.pkl", ORDER, 3)
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    np.testing.assert_array_equal(read_permutation(path, 40), ORDER)


class Payload:
    """Creates a file when it is unpickled by an unpickler that trusts the file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("place", ["alone", "beside", "inside"])
def test_payload_is_not_executed(tmp_path: Path, protocol: int, place: str) -> None:
    payload = Payload(tmp_path / "executed")
    inside = np.empty(1, dtype=object)
    inside[0] = payload
    content = {"alone": payload, "beside": (ORDER, payload), "inside": inside}[place]
    path = dumped(tmp_path / "p.pkl", content, protocol)
    with pytest.raises(DataError, match=r"p\.pkl: unsafe.*nothing was executed"):
        read_permutation(path, 40)
    assert not (tmp_path / "executed").exists()
    # The payload itself works: an ordinary unpickler runs it.
    pickle.loads(path.read_bytes())
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "source",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        b"c_codecs\ndecode\n(S'x'\nS'hex'\ntR.",
        b"Nr\xff\xff\xff\x7f.",
        b"Np99999999999\n.",
        1000 * b"N0" + b"N.",
    ],
)
def test_other_names_are_unsafe(tmp_path: Path, source: bytes) -> None:
    path = tmp_path / "p.pkl"
    path.write_bytes(source)
    with pytest.raises(DataError, match="unsafe"):
        read_permutation(path, 40)


@pytest.mark.parametrize("bomb", PICKLE_BOMBS, ids=PICKLE_BOMBS)
def test_pickles_that_never_end(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "p.pkl"
    path.write_bytes(PICKLE_BOMBS[bomb])
    with pytest.raises(DataError, match=r"p\.pkl: unsafe.*nothing was executed"):
        read_permutation(path, 40)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (ORDER[:39], "not a permutation of 0 to 39"),
        (np.append(ORDER, 40), "not a permutation"),
        (np.zeros(40, dtype=np.int64), "not a permutation"),
        (ORDER - 1, "not a permutation"),
        (ORDER.astype(np.float64), "integers"),
        (ORDER.reshape(5, 8), "1-D"),
        ([1, 2, 3], "holds a list"),
        (None, "holds a NoneType"),
    ],
)
def test_anything_but_the_permutation(tmp_path: Path, content: object, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_permutation(dumped(tmp_path / "p.pkl", content), 40)


def test_damaged_files(tmp_path: Path) -> None:
    path = dumped(tmp_path / "p.pkl", ORDER)
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    for length in range(len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"p\.pkl"):
            read_permutation(path, 40)
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(np.sort(read_permutation(path, 40)), np.arange(40))
        except DataError as error:
            assert "p.pkl" in str(error)


def test_size_limit_and_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_permutation(tmp_path / "p.pkl", 40)
    path = dumped(tmp_path / "p.pkl", ORDER)
    monkeypatch.setattr(permutation_pickle, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="at most 100 are read"):
        read_permutation(path, 40)
