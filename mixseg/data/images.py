"""Reading and writing image files: two formats, a size limit, and nothing guessed.

A data set may come from anywhere, so the formats are fixed when a file is opened, and a picture
that would fill the memory is refused by its header, before a pixel is decoded. Every function that
reads raises a ``DataError`` for a file that is missing, damaged or of another format.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from mixseg.config.values import Size
from mixseg.errors import DataError
from mixseg.files import opened, write_atomically

ImageArray = NDArray[np.uint8]
"""RGB image, shape (height, width, 3)."""

LabelArray = NDArray[np.uint8]
"""Label map, shape (height, width)."""

MAX_PIXELS = 100_000_000
"""Largest image that is read, width times height; 50 times a Cityscapes frame."""

PNG_COMPRESSION = 6
"""Default PNG compression level, 0 to 9, which is zlib's own."""

Palette = Sequence[tuple[int, int, int]]
"""RGB colors, 0 to 255, of indices from 0 on."""

_IMAGE_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")
_INDEX_MODES = ("L", "P", "LA")

# What Pillow's decoders let escape on damaged files.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
)


def read_image(path: Path, target: Size | None = None) -> ImageArray:
    """An image file as RGB, uint8, shape (height, width, 3).

    Grayscale, palette and CMYK pictures are converted, an alpha channel is dropped. EXIF
    orientation is not applied: :func:`read_photograph` does.

    Where ``target`` is the size that the image is resized to next, a JPEG is decoded at 1/2, 1/4 or
    1/8 of its size if at least twice the target is left: its decoder computes one pixel for each
    block. A PNG is decoded whole.

    Raises:
        DataError: The file is missing, damaged, neither PNG nor JPEG, larger than
            :data:`MAX_PIXELS`, or has 16 bits per gray value.
    """
    # Label maps are drawn on the stored pixels and carry no EXIF: turning the image by its
    # orientation tag would leave the label behind.
    with opened_image(path) as image:
        return _rgb_pixels(image, path, target)


def _rgb_pixels(image: Image.Image, path: Path, target: Size | None) -> ImageArray:
    if image.mode not in _IMAGE_MODES:
        # Pillow would clip 16-bit values at 255 instead of scaling them.
        raise DataError(
            f"{path}: pixels of mode {image.mode} (16 bits or more per gray value); expected "
            "8 bits per channel. Convert the file first"
        )
    # Phones append further pictures to a JPEG and call it MPO.
    if target is not None and image.format in ("JPEG", "MPO"):
        # Twice the target, because a decoder computes means of blocks: at the target's size they
        # would differ at edges from a whole image that is resized.
        image.draft(None, (2 * target[1], 2 * target[0]))
    if image.mode == "P":
        # The palette's transparency is only understood on the way to RGBA.
        return np.array(image.convert("RGBA").convert("RGB"), dtype=np.uint8)
    # Pillow would copy what needs no conversion.
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of a PNG or JPEG by its header; no pixel is decoded."""
    with opened_image(path) as image:
        return image.height, image.width


def read_index_png(path: Path) -> LabelArray:
    """The ids of a label PNG, uint8, shape (height, width): its gray values or palette indices.

    Raises:
        DataError: The file is missing, damaged, not a PNG, larger than :data:`MAX_PIXELS`, or not
            an 8-bit grayscale or palette picture. Grayscale may have an alpha channel that hides
            nothing.
    """
    return read_palette_png(path)[0]


def read_palette_png(path: Path) -> tuple[LabelArray, Palette | None]:
    """As :func:`read_index_png`, with the colors of the indices; None for grayscale."""
    with opened_image(path, ("PNG",)) as image:
        if not _is_index(image):
            raise DataError(
                f"{path}: {_describe_mode(image, stored_mode(image))}; expected a label PNG "
                "with one class id per pixel: 8-bit grayscale (mode L) or palette (mode P)"
            )
        if image.mode == "LA":
            return opaque_channels(image, path)[..., 0], None
        ids = np.array(image, dtype=np.uint8)
        channels = image.getpalette("RGB")
        if channels is None:
            return ids, None
        return ids, tuple(zip(*(iter(channels),) * 3, strict=True))


def read_gray_png(path: Path) -> NDArray[np.int32]:
    """The gray values of a PNG of 8 or 16 bits, int32, shape (height, width).

    Raises:
        DataError: The file is missing, damaged, not a PNG, larger than :data:`MAX_PIXELS`, or of
            another kind.
    """
    with opened_image(path, ("PNG",)) as image:
        stored = stored_mode(image)
        if stored not in ("L", "I;16", "I;16B"):
            raise DataError(
                f"{path}: {_describe_mode(image, stored)}; expected grayscale with 8 or 16 bits"
            )
        return np.array(image, dtype=np.int32)


def opaque_channels(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """The channels of an opened label without alpha, uint8, shape (height, width, channels).

    A transparent pixel is a DataError: what lies below is whatever the tool left there.
    """
    pixels = np.array(image, dtype=np.uint8)
    if image.mode not in ("LA", "RGBA"):
        return pixels
    if (pixels[..., -1] != 255).any():
        raise DataError(f"{path}: a mask with transparent pixels; save it without transparency")
    return pixels[..., :-1]


def stores_ids(path: Path) -> bool:
    """Whether :func:`read_index_png` takes a PNG, by its header."""
    with opened_image(path, ("PNG",)) as image:
        return _is_index(image)


def _is_index(image: Image.Image) -> bool:
    return image.mode in _INDEX_MODES and stored_mode(image) not in ("L;2", "L;4")


def encode_png(
    array: NDArray[np.uint8], palette: Palette | None = None, compression: int = PNG_COMPRESSION
) -> bytes:
    """An array as a PNG file.

    Args:
        array: uint8, shape (height, width) for grayscale or indices, (height, width, 3) for RGB.
        palette: RGB colors of the indices; only with a 2-D array, whose values stay as they are.
        compression: Level 1 to 9; 0 stores uncompressed pixels, which are read several times
            faster.

    Raises:
        DataError: The array is not such a picture.
    """
    shape = array.shape
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and shape[2] == 3)):
        raise DataError(
            f"a PNG is written from uint8 of shape (h, w) or (h, w, 3), "
            f"found {array.dtype} of shape {shape}"
        )
    if palette is not None and (array.ndim != 2 or len(palette) > 256):
        raise DataError(
            f"a palette has at most 256 colors and needs a 2-D array, "
            f"found {len(palette)} colors and shape {shape}"
        )
    if compression == 0 and array.ndim == 3:
        return pack_png(array, compression)
    image = Image.fromarray(array)
    if palette is not None:
        # Pillow stores as few bits as the palette needs, which would cut off higher ids (255).
        full = [*palette, *[(0, 0, 0)] * (256 - len(palette))]
        image.putpalette([channel for color in full for channel in color])
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", compress_level=compression)
    return encoded.getvalue()


def pack_png(pixels: NDArray[np.uint8] | NDArray[np.uint16], compression: int) -> bytes:
    """RGB pixels of 8 or 16 bits, shape (height, width, 3), as a PNG whose rows are not filtered.

    Pillow filters rows at every level, which takes most of the time of reading uncompressed ones,
    and writes no 16 bits.
    """
    height, width, _ = pixels.shape
    bits = 8 * pixels.itemsize
    content = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    rows = np.pad(content, ((0, 0), (1, 0)))  # a row begins with its filter, 0
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)  # RGB, not interlaced
    data = zlib.compress(rows.tobytes(), compression)
    file = b"\x89PNG\r\n\x1a\n"
    for kind, part in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        file += struct.pack(">I", len(part)) + kind + part
        file += struct.pack(">I", zlib.crc32(kind + part))
    return file


def encode_jpeg(array: ImageArray, quality: int = 95) -> bytes:
    """RGB, uint8, shape (height, width, 3), as a JPEG file with color at full resolution."""
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, format="JPEG", quality=quality, subsampling=0)
    return encoded.getvalue()


def write_png(
    path: Path,
    array: NDArray[np.uint8],
    palette: Palette | None = None,
    compression: int = PNG_COMPRESSION,
) -> None:
    """Write the file of :func:`encode_png`; ``path`` never holds half of it, even after a kill.

    Raises:
        DataError: The array is not such a picture, or the file cannot be written.
    """
    try:
        write_atomically(path, encode_png(array, palette, compression), durable=False)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def opened_image(path: Path, formats: tuple[str, ...] = ("PNG", "JPEG")) -> Iterator[Image.Image]:
    """Open an image of one of the formats; errors in the block become DataErrors with the path."""
    expected = " or ".join(formats)
    try:
        with opened(path) as file, Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(_too_large(path, f"{width}x{height} pixels"))
            yield image
    # Pillow's own limit is a global that any library may change; a stricter one comes first.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(_too_large(path, str(error))) from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: is not a readable {expected} file") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except _DECODE_ERRORS as error:
        raise DataError(f"{path}: cannot be read as {expected}: {error}") from error


def _too_large(path: Path, found: str) -> str:
    return f"{path}: too large ({found}); at most {MAX_PIXELS} pixels are read"


def stored_mode(image: Image.Image) -> str:
    """The mode in which the file of an opened image stores its pixels."""
    # Pillow stretches 2- and 4-bit grays to 0..255 (id 1 of 4 bits becomes 17) and still calls
    # the result "L"; only the decoder's arguments tell.
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else image.mode
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _describe_mode(image: Image.Image, stored: str) -> str:
    if stored in ("1", "L;2", "L;4"):
        bits = {"1": 1, "L;2": 2, "L;4": 4}[stored]
        return f"grayscale with {bits} bit(s) per pixel, whose values are ambiguous"
    if image.mode.startswith("I"):
        return "grayscale with 16 bits per pixel"
    if image.mode in ("RGB", "RGBA"):
        return f"a color picture (mode {image.mode})"
    return f"mode {image.mode}"


# Photographs, turned upright by their EXIF orientation ------------------------------------------
# For images that no label file belongs to: labels are drawn on the stored pixels.

UPRIGHT = 1
"""The EXIF orientation of pixels that are stored as they are seen."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the stored pixels upright (Pillow turns counter-clockwise)."""

_SIDEWAYS = (5, 6, 7, 8)
"""Orientations whose upright picture is as high as the stored one is wide."""

_ORIENTATION_TAG = 0x0112


def read_photograph(path: Path, target: Size | None = None) -> ImageArray:
    """An upright image, RGB, uint8, shape (height, width, 3); otherwise as :func:`read_image`."""
    with opened_image(path) as image:
        if image.format == "PNG":
            # Its orientation may stand behind the pixels. That of a JPEG stands before them, and is
            # needed before it is decoded at a size.
            image.load()
        orientation = _orientation(image)
        if target is not None and orientation in _SIDEWAYS:
            target = (target[1], target[0])
        pixels = _rgb_pixels(image, path, target)
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))


def photograph_size(path: Path) -> Size:
    """Height and width of the upright image by the file's header; no pixel is decoded."""
    with opened_image(path) as image:
        stored = (image.height, image.width)
        return stored[::-1] if _orientation(image) in _SIDEWAYS else stored


def orientation_in_header(path: Path) -> int:
    """The EXIF orientation, 1 to 8; upright where the header has none or it is damaged."""
    with opened_image(path) as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        # A PNG's own getexif would decode all pixels to look behind them.
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return UPRIGHT
    return value if isinstance(value, int) and value in _TURNS else UPRIGHT


# 16-bit color PNGs, which hold the label maps of SYNTHIA ----------------------------------------
# Pillow gives 8 bits of each channel, those that a raw mode names, and torchvision's decoder ends
# the process on a damaged file. So Pillow reads such a file twice: for high bytes and for low ones.


def is_png16(path: Path) -> bool:
    """Whether a PNG has 16 bits per channel, by its header."""
    with opened_image(path, ("PNG",)) as image:
        return stored_mode(image).endswith(";16B")


def read_first_channel(path: Path) -> NDArray[np.uint16]:
    """The red channel of a 16-bit RGB or RGBA PNG, shape (height, width); others are refused."""
    with opened_image(path, ("PNG",)) as image:
        image.verify()  # the checksums, which are not verified when pixels are read
    high, low = (_first_bytes(path, order) for order in "BL")
    values: NDArray[np.uint16] = (256 * high.astype(np.uint16) + low).astype(np.uint16)
    return values


def _first_bytes(path: Path, order: str) -> NDArray[np.uint8]:
    """The high byte ("B") or the low byte ("L") of each red value."""
    with opened_image(path, ("PNG",)) as image:
        mode = stored_mode(image)
        if mode not in ("RGB;16B", "RGBA;16B"):
            raise DataError(f"{path}: pixels of mode {mode}; expected 16 bits per channel, in RGB")
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [(*image.tile[0][:3], mode[:-1] + order)]  # type: ignore[list-item]
        return np.asarray(image)[:, :, 0]
