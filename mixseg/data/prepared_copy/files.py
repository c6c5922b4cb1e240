"""The files of a copy that an image with its labels becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from mixseg.data.arrays import ImageArray, LabelArray, Size
from mixseg.data.check import Problem, reading_problem
from mixseg.data.contract import Sample, unequal_sizes
from mixseg.data.images import (
    Palette,
    encode_jpeg,
    encode_png,
    read_palette_png,
    stores_ids,
)
from mixseg.data.prepared_copy.manifest import Origin
from mixseg.data.prepared_copy.plan import Original
from mixseg.data.transforms import resized_ids, resized_image
from mixseg.errors import DataError
from mixseg.files import read_bytes


@final
@dataclass(frozen=True)
class FileCopy:
    """What a file of the copy will hold.

    Attributes:
        content: The file.
        source_size: Height and width of the original; None where they do not matter.
        size: Of the copy.
    """

    content: bytes
    source_size: Size | None
    size: Size | None


def file_copies(original: Original, origin: Origin) -> tuple[dict[str, FileCopy], list[Problem]]:
    """Path in the copy -> its content, and what is wrong with the files that have none."""
    problems: list[Problem] = []
    copies: dict[str, FileCopy] = {}
    image: ImageArray | None = None
    for name, path in original.targets.items():
        try:
            if path == original.image:
                image = original.read_image(path)
                copies[name] = _image_copy(path, image, original.size, origin)
                continue
            raw = original.labels[path].read_raw_label(path)
            copies[name] = _label_copy(path, raw, original.size)
        except DataError as error:
            problems.append(Problem(reading_problem(error), str(path), str(error)))
            continue
        except OSError as error:
            message = f"{path}: cannot be read: {error.strerror}"
            problems.append(Problem("unreadable", str(path), message))
            continue
        if image is not None and image.shape[:2] != raw.shape:
            sample = Sample("", original.image, path)
            message = unequal_sizes(sample, image.shape, raw.shape)
            problems.append(Problem("size mismatch", str(path), message))
        try:
            original.labels[path].train_ids(raw, path)
        except DataError as error:
            problems.append(Problem("unknown ids", str(path), str(error)))
    return copies, problems


def _image_copy(path: Path, image: ImageArray, size: Size | None, origin: Origin) -> FileCopy:
    there = (image.shape[0], image.shape[1])
    if size in (None, there):  # a JPEG would lose by being written again
        return FileCopy(read_bytes(path), there, there)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    smaller = (
        resized_image(pixels, size, origin.interpolation).permute(1, 2, 0).contiguous().numpy()
    )
    is_png = path.suffix.lower() == ".png"
    content = (
        encode_png(smaller, compression=origin.compression) if is_png else encode_jpeg(smaller)
    )
    return FileCopy(content, there, size)


def _label_copy(path: Path, raw: LabelArray, size: Size | None) -> FileCopy:
    there = (raw.shape[0], raw.shape[1])
    palette: Palette | None = None
    ids = raw
    # Class files of SBD, 16-bit labels of SYNTHIA, which take a second to read, and masks of
    # colours or one bit become 8-bit PNGs with the same ids; the loaders of all know such files.
    if path.suffix.lower() == ".png" and stores_ids(path):
        if size in (None, there):
            return FileCopy(read_bytes(path), there, there)
        ids, palette = read_palette_png(path)
    size = size or there
    smaller = resized_ids(torch.from_numpy(ids), size).numpy()
    return FileCopy(encode_png(smaller, palette), there, size)
