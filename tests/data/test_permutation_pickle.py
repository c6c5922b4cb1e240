from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mixseg.data import lists
from mixseg.data.lists import read_permutation
from mixseg.errors import DataError
from tests.bombs import PICKLE_BOMBS

ORDER = np.random.default_rng(0).permutation(40)


def dumped(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def test_arrays_of_every_protocol_and_numpy(tmp_path: Path) -> None:
    for protocol in range(5):
        for dtype in ("<i8", ">i8", "<i4"):
            path = dumped(tmp_path / "p.pkl", ORDER.astype(dtype), protocol)
            read = read_permutation(path, 40)
            np.testing.assert_array_equal(read, ORDER)
            assert read.dtype == np.int64
        content = path.read_bytes()
        if protocol < 4:  # else the length of the name is written, too
            names = (b"numpy._core.multiarray", b"numpy.core.multiarray")
            own, other = names if names[0] in content else names[::-1]  # NumPy 2, or 1
            assert own in content
            path.write_bytes(content.replace(own, other))
            np.testing.assert_array_equal(read_permutation(path, 40), ORDER)


class Payload:
    """Creates a file when it is unpickled by an unpickler that trusts the file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_payload_is_not_executed(tmp_path: Path, protocol: int) -> None:
    inside = np.empty(1, dtype=object)
    inside[0] = Payload(tmp_path / "inside")
    alone = Payload(tmp_path / "alone")
    beside = (ORDER, Payload(tmp_path / "beside"))
    for name, content in {"alone": alone, "beside": beside, "inside": inside}.items():
        path = dumped(tmp_path / "p.pkl", content, protocol)
        with pytest.raises(DataError, match=r"p\.pkl: unsafe.*nothing was executed"):
            read_permutation(path, 40)
        assert not (tmp_path / name).exists()
        # The payload itself works: an ordinary unpickler runs it.
        pickle.loads(path.read_bytes())
        assert (tmp_path / name).exists()


UNSAFE = {
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "load": b"cnumpy\nload\n(S'x'\ntR.",
    "an attribute": b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
    "another codec": b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    "a decoder": b"c_codecs\ndecode\n(S'x'\nS'hex'\ntR.",
    "a large index": b"Nr\xff\xff\xff\x7f.",
    "a larger index": b"Np99999999999\n.",
    "many opcodes": 1000 * b"N0" + b"N.",
    **PICKLE_BOMBS,
}


@pytest.mark.parametrize("name", UNSAFE)
def test_other_pickles_are_unsafe(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.pkl").write_bytes(UNSAFE[name])
    with pytest.raises(DataError, match=r"p\.pkl: unsafe.*nothing was executed"):
        read_permutation(tmp_path / "p.pkl", 40)


def test_other_content_and_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.pkl"
    for content_of_another_kind in (
        *(ORDER[:39], np.append(ORDER, 40), np.zeros(40, dtype=np.int64), ORDER - 1),
        *(ORDER.astype(np.float64), ORDER.reshape(5, 8), [1, 2, 3], None),
    ):
        with pytest.raises(DataError, match=r"p\.pkl"):
            read_permutation(dumped(path, content_of_another_kind), 40)
    dumped(path, ORDER)
    content = path.read_bytes()
    for length in range(len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"p\.pkl"):
            read_permutation(path, 40)
    random = np.random.default_rng(1)
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] = int(random.integers(256))
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(np.sort(read_permutation(path, 40)), np.arange(40))
        except DataError as error:
            assert "p.pkl" in str(error)
    path.write_bytes(content)
    monkeypatch.setattr(lists, "MAX_PICKLE", 100)
    with pytest.raises(DataError, match=r"p\.pkl"):
        read_permutation(path, 40)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_permutation(path, 40)
