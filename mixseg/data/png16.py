"""The first channel of 16-bit colour PNGs, which hold the label maps of SYNTHIA.

Pillow reads such files with 8 bits per channel, which leaves nothing of small ids, and
torchvision's decoder ends the process on a damaged file. What is needed is little: one channel,
no interlacing, no colour management.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixseg.data.images import MAX_PIXELS
from mixseg.errors import DataError
from mixseg.files import opened

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}  # colour type -> channels: RGB and RGBA


def is_png16(path: Path) -> bool:
    """Whether a file says that it is a PNG with 16 bits per channel.

    Raises:
        DataError: The file is not there or cannot be read.
    """
    head = _read(path, 25)
    return head[:8] == _SIGNATURE and head[24:25] == b"\x10"


def read_first_channel(path: Path) -> NDArray[np.uint16]:
    """The red channel of a 16-bit RGB or RGBA PNG, shape (height, width).

    Raises:
        DataError: The file is missing, damaged, larger than
            :data:`mixseg.data.images.MAX_PIXELS`, interlaced, or not such a PNG.
    """
    data = _read(path)
    if data[:8] != _SIGNATURE:
        raise DataError(f"{path}: is not a PNG file")
    chunks = _chunks(data, path)
    kind, header = next(chunks, (b"", b""))
    if kind != b"IHDR" or len(header) != 13:
        raise DataError(f"{path}: damaged: a PNG begins with its header")
    width, height, depth, colour, compression, method, interlace = struct.unpack(">IIBBBBB", header)
    if depth != 16 or colour not in _CHANNELS or (compression, method) != (0, 0):
        raise DataError(
            f"{path}: a PNG of {depth} bits and colour type {colour}; expected 16 bits per "
            "channel, RGB or RGBA"
        )
    if interlace:
        raise DataError(f"{path}: an interlaced PNG; write it again without interlacing")
    if not 0 < width * height <= MAX_PIXELS:
        raise DataError(f"{path}: {width}x{height} pixels; expected 1 to {MAX_PIXELS}")
    pixel = 2 * _CHANNELS[colour]
    expected = height * (1 + width * pixel)
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    try:
        # The limit keeps a small file from unpacking to all of the memory.
        rows = zlib.decompressobj().decompress(packed, expected)
    except zlib.error as error:
        raise DataError(f"{path}: damaged: {error}") from error
    if len(rows) != expected:
        raise DataError(f"{path}: damaged: its pixels end after {len(rows)} of {expected} bytes")
    table = np.frombuffer(rows, dtype=np.uint8).reshape(height, 1 + width * pixel)
    filters = table[:, 0]
    if filters.max() > 4:
        raise DataError(f"{path}: damaged: row filter {filters.max()} does not exist")
    # A filter predicts a byte from the same byte of neighbouring pixels: those of the other
    # channels need not be decoded.
    residuals = table[:, 1:].reshape(height, width, pixel)[:, :, :2]
    high, low = _unfilter(residuals.transpose(2, 0, 1), filters)
    result: NDArray[np.uint16] = high.astype(np.uint16) << 8 | low
    return result


def _unfilter(residuals: NDArray[np.uint8], filters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the five row filters (PNG specification, section 9) of bytes (lanes, height, width).

    A pixel follows from those to its left, above, and above left, so all pixels of an
    anti-diagonal can be computed at once: one step per diagonal, its rows side by side.
    """
    lanes, height, width = residuals.shape
    result = np.zeros((lanes, height, width), dtype=np.uint8)
    # Entry r + 1 of a diagonal belongs to row r; what lies outside the image counts as zero.
    before, last = np.zeros((2, lanes, height + 1), dtype=np.int16)
    for diagonal in range(height + width - 1):
        first, end = max(0, diagonal - width + 1), min(height, diagonal + 1)
        rows = np.arange(first, end)
        left, up, corner = (
            last[:, first + 1 : end + 1],
            last[:, first:end],
            before[:, first:end],
        )
        to_left, to_up = np.abs(up - corner), np.abs(left - corner)
        to_corner = np.abs(left + up - 2 * corner)
        nearest = np.where(to_up <= to_corner, up, corner)
        paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
        prediction = np.choose(
            filters[first:end], (np.zeros_like(left), left, up, (left + up) >> 1, paeth)
        )
        before, last = last, np.zeros_like(last)
        last[:, first + 1 : end + 1] = (residuals[:, rows, diagonal - rows] + prediction) & 255
        result[:, rows, diagonal - rows] = last[:, first + 1 : end + 1]
    return result


def _chunks(data: bytes, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk up to IEND."""
    start = len(_SIGNATURE)
    while True:
        head = data[start : start + 8]
        if len(head) < 8:
            raise DataError(f"{path}: damaged: it ends before its last chunk")
        (length,) = struct.unpack(">I", head[:4])
        kind, content = head[4:], data[start + 8 : start + 8 + length]
        checksum = data[start + 8 + length : start + 12 + length]
        if checksum != struct.pack(">I", zlib.crc32(kind + content)):
            raise DataError(f"{path}: damaged: the checksum of a chunk is wrong")
        if kind == b"IEND":
            return
        yield kind, content
        start += 12 + length


def _read(path: Path, limit: int = -1) -> bytes:
    try:
        with opened(path) as file:
            return file.read(limit)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
