"""The reader of 16-bit label maps, against an encoder that is not its own."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixseg.data.images import is_png16, read_first_channel
from mixseg.errors import DataError
from tests.data.png_encoder import encode, png_file


def picture(height: int = 9, width: int = 7, channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(height * width)
    return random.integers(0, 65536, (height, width, channels), dtype=np.uint16)


def test_what_was_encoded_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for size in ((1, 1, 3), (9, 7, 4), (76, 128, 3)):
        for interlace in (False, True):
            pixels = picture(*size)
            path.write_bytes(encode(pixels, interlace))
            assert is_png16(path)
            found = read_first_channel(path)
            np.testing.assert_array_equal(found, pixels[:, :, 0])
            assert found.dtype == np.uint16
    # Rows of one pixel by each filter: none, left, up, mean and Paeth.
    rows = b"".join(bytes([kind, 1, 2, 0, 0, 0, 0]) for kind in range(5))
    path.write_bytes(png_file(1, 5, 16, 2, rows))
    up = [(1, 2), (1, 2), (2, 4), (2, 4), (3, 6)]  # sums with the row above, half of it, all of it
    expected = [[256 * high + low] for high, low in up]
    np.testing.assert_array_equal(read_first_channel(path), expected)


def test_damage_never_passes(tmp_path: Path) -> None:
    pixels = picture()
    encoded, path = encode(pixels), tmp_path / "a.png"
    damaged = [encoded[:length] for length in range(len(encoded) - 12)]
    for position in range(len(encoded) - 12):  # the last chunk holds nothing
        for bit in (1, 128):
            flipped = bytearray(encoded)
            flipped[position] ^= bit
            damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png"):
            read_first_channel(path)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    for content in (noise, b"\x89PNG\r\n\x1a\n" + noise, png_file(3, 2, 16, 2, noise)[:-20]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png"):
            read_first_channel(path)


def test_other_pngs_are_refused(tmp_path: Path) -> None:
    for content in (
        encode(picture().astype(np.uint8)),
        encode(picture(channels=1)),
        png_file(1, 1, 16, 2, b"\x05" + bytes(6)),  # a row filter that does not exist
        png_file(100_000, 100_000, 16, 2, b""),
    ):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png"):
            read_first_channel(tmp_path / "a.png")
    with pytest.raises(DataError, match="no such file"):
        read_first_channel(tmp_path / "b.png")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """More than the header promises stays packed."""
    (tmp_path / "a.png").write_bytes(png_file(1, 1, 16, 2, bytes(100_000_000)))
    tracemalloc.start()
    assert read_first_channel(tmp_path / "a.png").shape == (1, 1)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
