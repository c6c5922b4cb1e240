"""The reader of 16-bit label maps, against an encoder and a decoder that are not its own."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import png
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixseg.data.png16 import is_png16, read_first_channel
from mixseg.errors import DataError
from tests.data.png_encoder import FILTERS, chunk, encode


def picture(height: int = 9, width: int = 7, channels: int = 3, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 65536, (height, width, channels), dtype=np.uint16)


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    channels=st.sampled_from([3, 4]),
    filters=st.lists(st.sampled_from(FILTERS), min_size=1, max_size=6),
    smooth=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_what_was_encoded_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    channels: int,
    filters: list[int],
    smooth: bool,
    seed: int,
) -> None:
    pixels = picture(height, width, channels, seed)
    if smooth:  # long runs of small ids, as in label maps
        pixels = pixels % 3
    encoded = encode(pixels, filters)
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(encoded)
    assert is_png16(path)
    np.testing.assert_array_equal(read_first_channel(path), pixels[:, :, 0])
    # The encoder is right, too.
    _, _, rows, _ = png.Reader(bytes=encoded).asDirect()
    np.testing.assert_array_equal(np.vstack(list(rows)).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("alpha", [False, True])
def test_files_of_another_encoder(tmp_path: Path, alpha: bool) -> None:
    pixels = picture(channels=4 if alpha else 3)
    file = io.BytesIO()
    writer = png.Writer(7, 9, bitdepth=16, greyscale=False, alpha=alpha)
    writer.write(file, pixels.reshape(9, -1).tolist())
    (tmp_path / "a.png").write_bytes(file.getvalue())
    np.testing.assert_array_equal(read_first_channel(tmp_path / "a.png"), pixels[:, :, 0])


def test_a_frame_of_full_size(tmp_path: Path) -> None:
    ids = np.repeat(np.repeat(picture(76, 128) % 23, 10, axis=0), 10, axis=1)
    rows = ids.astype(">u2").reshape(760, -1).view(np.uint8)
    filtered = np.zeros_like(rows)
    filtered[0], filtered[1:] = rows[0], rows[1:] - rows[:-1]
    packed = np.hstack([np.full((760, 1), 2, np.uint8), filtered]).tobytes()
    header = struct.pack(">IIBBBBB", 1280, 760, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(packed)), (b"IEND", b""))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks))
    np.testing.assert_array_equal(read_first_channel(path), ids[:, :, 0])


def test_damage_never_passes(tmp_path: Path) -> None:
    encoded = encode(picture())
    path = tmp_path / "a.png"
    for length in range(len(encoded)):
        path.write_bytes(encoded[:length])
        with pytest.raises(DataError, match=r"a\.png"):
            read_first_channel(path)
    # What comes after the last chunk is not looked at.
    for position in range(len(encoded)):
        for bit in (1, 128):
            damaged = bytearray(encoded)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=r"a\.png"):
                read_first_channel(path)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    for content in (
        noise,
        b"\x89PNG\r\n\x1a\n" + noise,
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", noise),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png"):
            read_first_channel(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (encode(picture().astype(np.uint8)), "8 bits and colour type 2"),
        (encode(picture(channels=1)), "16 bits and colour type 0"),
        (encode(picture(), interlace=1), "interlaced"),
        (encode(picture(), filters=(0, 0))[:8], "ends before its last chunk"),
    ],
)
def test_other_pngs_are_described(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_first_channel(tmp_path / "a.png")


def test_unknown_filter_and_missing_file(tmp_path: Path) -> None:
    rows = b"\x05" + bytes(6)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks))
    with pytest.raises(DataError, match="row filter 5"):
        read_first_channel(path)
    with pytest.raises(DataError, match="no such file"):
        read_first_channel(tmp_path / "b.png")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"

    def write(width: int, height: int, content: bytes) -> None:
        header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks))

    write(100_000, 100_000, zlib.compress(b""))
    with pytest.raises(DataError, match="100000x100000"):
        read_first_channel(path)
    # More than the header promises stays packed.
    write(1, 1, zlib.compress(bytes(100_000_000)))
    tracemalloc.start()
    assert read_first_channel(path).shape == (1, 1)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
