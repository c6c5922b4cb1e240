"""PNG files that Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import png
from numpy.typing import NDArray


def encode(pixels: NDArray[np.unsignedinteger], interlace: bool = False) -> bytes:
    """``pixels`` of shape (height, width, channels), uint8 or uint16."""
    height, width, channels = pixels.shape
    file = io.BytesIO()
    depth = 8 * pixels.itemsize
    options = {"greyscale": channels == 1, "alpha": channels == 4, "interlace": interlace}
    png.Writer(width, height, bitdepth=depth, **options).write(file, pixels.reshape(height, -1))
    return file.getvalue()


def png_file(width: int, height: int, bits: int, color: int, rows: bytes) -> bytes:
    """A PNG that claims a size and a color type, and holds some rows."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    return content
