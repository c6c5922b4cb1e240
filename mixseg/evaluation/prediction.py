"""Predictions as files: of photographs that a user has, and of the samples of a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from mixseg.analysis.pictures import colourise, overlay, with_legend
from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.data.contract import ClassSet
from mixseg.data.images import PNG_COMPRESSION, write_png
from mixseg.data.pairing import IMAGE_ENDINGS
from mixseg.data.photographs import read_photograph
from mixseg.distributed import world
from mixseg.errors import ConfigError, DataError, unknown_name
from mixseg.evaluation.inference import (
    Autocast,
    InferenceMode,
    predict_labels,
    predict_probabilities,
)
from mixseg.evaluation.picture_writer import PictureWriter
from mixseg.ignore import IGNORE

Draw = Callable[[ImageArray, LabelArray, ClassSet], NDArray[np.uint8]]
OnPhotograph = Callable[[str, ImageArray, LabelArray], None]
"""Called with the name of a photograph, its pixels and its prediction."""
Encode = Callable[[LabelArray, ClassSet], NDArray[np.uint8]]

PICTURES: dict[str, Draw] = {
    "ids": lambda image, labels, classes: labels,
    "colour": lambda image, labels, classes: colourise(labels, classes.palette),
    "overlay": lambda image, labels, classes: with_legend(
        overlay(image, labels, classes), labels, classes
    ),
    "label-ids": lambda image, labels, classes: to_label_ids(labels, classes),
}
"""What :func:`predict_files` can write for each image; the name is also that of the folder."""

COMPRESSION = {"overlay": 2}
"""How much pictures are packed, where that is not :data:`mixseg.data.images.PNG_COMPRESSION`: the
overlay of a photograph gets a seventh larger and takes a fifth of the time; maps would double."""

USUAL_PICTURES = ("ids", "colour", "overlay")
"""What it writes when nobody asks for less or more."""

TOO_MUCH_MEMORY = (
    "does not fit into memory; show it to the network smaller (--resize HEIGHTxWIDTH) or in "
    "windows (--mode slide --window HEIGHTxWIDTH)"
)
"""What is said of an image that is skipped for its size."""

PREDICTION_FORMATS: dict[str, Encode] = {
    "train-ids": lambda labels, classes: labels,
    "label-ids": lambda labels, classes: to_label_ids(labels, classes),
    "colour": lambda labels, classes: colourise(labels, classes.palette),
}
"""What :func:`save_prediction` can write."""


@final
@dataclass(frozen=True)
class Failure:
    """An image that was skipped.

    Attributes:
        path: The image file.
        reason: What was wrong, for people; names the file.
    """

    path: Path
    reason: str


@final
@dataclass(frozen=True)
class Predictor:
    """A network and how it is applied to photographs.

    Attributes:
        model: Called with float images in [0, 1], (B, 3, H, W); returns logits (B, C, H, W) with
            one channel per class. Must already be on ``device``.
        classes: Names and colours of what the model predicts.
        input_size: Height and width that images are resized to for the network; None keeps them.
        mode: Defaults to the whole image, once.
        device: Where the model runs.
        autocast: Makes the context of each forward pass.
    """

    model: nn.Module
    classes: ClassSet
    input_size: tuple[int, int] | None = None
    mode: InferenceMode | None = None
    device: torch.device | str = "cpu"
    autocast: Autocast = nullcontext

    def __call__(self, image: ImageArray) -> LabelArray:
        """The train ids of an RGB image, uint8, as large as the image."""
        labels = predict_labels(
            self.model,
            self._pixels(image),
            (image.shape[0], image.shape[1]),
            self.mode,
            autocast=self.autocast,
            num_classes=len(self.classes),
        )
        return cast(LabelArray, labels[0].cpu().numpy())

    def probabilities(self, image: ImageArray) -> Tensor:
        """float32 on the CPU, shape (1, C, H, W): how probable each class is at each pixel."""
        return predict_probabilities(
            self.model,
            self._pixels(image),
            self.mode,
            size=(image.shape[0], image.shape[1]),
            autocast=self.autocast,
        ).cpu()

    def _pixels(self, image: ImageArray) -> Tensor:
        """An image as the network is shown it, shape (1, 3, h, w)."""
        # Pillow shares its pixels with numpy read-only, and of such torch warns.
        pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)
        if self.input_size is not None:
            pixels = transforms.resize(pixels, list(self.input_size), antialias=True)
        return pixels[None].to(self.device).float().div(255)


def collect_images(paths: Sequence[Path], exclude: Path | None = None) -> list[tuple[Path, str]]:
    """The images among files and folders, each with a name for what is written about it.

    The name of a file is its stem; that of a file in a folder is its path below the folder, with
    forward slashes, without the suffix. Where images would share a name (``a.png`` and ``a.jpg``,
    or two folders with the same content), later ones keep their suffix or get a number.

    Args:
        paths: Image files, and folders that are searched for them recursively. Hidden files and
            folders are left out.
        exclude: A folder whose files are left out, such as the one that results go to.

    Returns:
        Path and name of each image, in the order of ``paths``, sorted within a folder; names
        differ, also in a file system that does not tell capitals apart.

    Raises:
        DataError: A path does not exist, a file is not named as an image, or a folder has none.
    """
    left_out = None if exclude is None else exclude.resolve()
    images: list[tuple[Path, str]] = []
    seen: set[Path] = set()
    taken: set[str] = set()
    for path in paths:
        found = 0
        for file, relative in _images_at(path):
            resolved = file.resolve()
            if left_out is not None and resolved.is_relative_to(left_out):
                continue
            found += 1
            if resolved in seen:
                continue
            seen.add(resolved)
            name = next(name for name in _names(relative) if name.casefold() not in taken)
            taken.add(name.casefold())
            images.append((file, name))
        if not found:
            raise DataError(f"{path}: holds no image ({', '.join(sorted(IMAGE_ENDINGS))})")
    return images


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    output_dir: Path,
    *,
    formats: Collection[str] = USUAL_PICTURES,
    on_progress: Callable[[int, int], None] | None = None,
    on_image: OnPhotograph | None = None,
) -> list[Failure]:
    """Predict image files and write ``<output_dir>/<format>/<name>.png`` for each.

    Photographs are turned upright by their EXIF orientation, so the results are as large as the
    upright picture. Names are those of :func:`collect_images`; images that lie in ``output_dir``
    are results of an earlier run and are left out. Several processes take images in turn. A file
    is either complete or absent. The files of an image are written while the next ones are
    predicted; all are there when this returns.

    Args:
        predictor: The network and how it is applied.
        paths: Image files and folders.
        output_dir: Is made if it does not exist; files of the same name are replaced.
        formats: Any of ``ids`` (train ids), ``colour`` (RGB), ``overlay`` (RGB, with legend) and
            ``label-ids`` (of the data set's own files, for benchmark servers).
        on_progress: Called after each prediction with the number of images done and of all.
        on_image: Called before the files of an image are written. Where it runs out of memory,
            the image is left out.

    Returns:
        The images that could not be read, or were too large for the memory.

    Raises:
        DataError: A path is missing or holds no image, the model has another number of classes,
            or a result cannot be written.
        ConfigError: A format is unknown.
    """
    for name in formats:
        if name not in PICTURES:
            raise ConfigError(unknown_name("format", name, PICTURES))

    rank, size = world()
    images = collect_images(paths, exclude=output_dir)[rank::size]
    failures = []
    with PictureWriter() as write:
        for done, (path, name) in enumerate(images, start=1):
            files = {kind: output_dir / kind / f"{name}.png" for kind in formats}
            try:
                image = read_photograph(path)
            except DataError as error:
                failures.append(Failure(path, str(error)))
            else:
                try:
                    labels = predictor(image)
                    if on_image is not None:
                        on_image(name, image, labels)
                except (MemoryError, RuntimeError) as error:
                    if not _is_out_of_memory(error):
                        raise
                    failures.append(Failure(path, f"{path}: {TOO_MUCH_MEMORY}"))
                else:
                    write(labels.size, *_works(image, labels, predictor.classes, files))
            if on_progress is not None:
                on_progress(done, len(images))
    return failures


def _works(
    image: ImageArray, labels: LabelArray, classes: ClassSet, files: Mapping[str, Path]
) -> list[Callable[[], None]]:
    """What draws and writes each picture of an image, by its name in :data:`PICTURES`."""

    def work(kind: str, path: Path) -> None:
        compression = COMPRESSION.get(kind, PNG_COMPRESSION)
        write_picture(path, PICTURES[kind](image, labels, classes), compression)

    return [partial(work, kind, path) for kind, path in files.items()]


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed; on a CPU torch says so by a plain RuntimeError."""
    known = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, known) or "allocate memory" in str(error)


def save_prediction(path: Path, labels: LabelArray, format: str, classes: ClassSet) -> None:
    """Write one prediction as a PNG; its folder is made.

    Args:
        path: Target.
        labels: uint8 train ids, shape (H, W), 255 = ignore.
        format: ``train-ids``; ``label-ids``, the ids of the data set's own files, as its
            benchmark expects them; or ``colour``.
        classes: The classes of ``labels``.

    Raises:
        ConfigError: The format is unknown.
        DataError: The file cannot be written.
    """
    if format not in PREDICTION_FORMATS:
        raise ConfigError(unknown_name("format", format, PREDICTION_FORMATS))
    write_picture(path, PREDICTION_FORMATS[format](labels, classes))


def to_label_ids(labels: LabelArray, classes: ClassSet) -> LabelArray:
    """Train ids as the ids of the data set's own files.

    Args:
        labels: uint8 train ids, shape (H, W), 255 = ignore.
        classes: The classes of ``labels``.

    Returns:
        uint8, shape (H, W). Ignored pixels become 0, the unlabelled id, unless 0 is a class.
    """
    if not classes.label_ids:
        return labels
    nothing = IGNORE if 0 in classes.label_ids else 0
    table = np.full(256, nothing, dtype=np.uint8)
    table[: len(classes)] = classes.label_ids
    return table[labels]


def _images_at(path: Path) -> Iterator[tuple[Path, PurePath]]:
    """The images that one argument stands for, with their paths below it."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            relative = file.relative_to(path)
            hidden = any(part.startswith(".") for part in relative.parts)
            if not hidden and file.suffix.lower() in IMAGE_ENDINGS and file.is_file():
                yield file, relative
    elif not path.exists():
        raise DataError(f"{path}: no such file or folder")
    elif path.suffix.lower() not in IMAGE_ENDINGS:
        raise DataError(f"{path}: is not an image ({', '.join(sorted(IMAGE_ENDINGS))})")
    else:
        yield path, PurePath(path.name)


def _names(relative: PurePath) -> Iterator[str]:
    """Names for an image, the nicest first and without end."""
    plain = relative.with_suffix("").as_posix()
    yield plain
    yield relative.as_posix()
    number = 2
    while True:
        yield f"{plain} ({number})"
        number += 1


def write_picture(path: Path, array: NDArray[np.uint8], compression: int = PNG_COMPRESSION) -> None:
    """Write a PNG, whole or not at all; its folder is made.

    Args:
        path: Target.
        array: As in :func:`mixseg.data.images.encode_png`.
        compression: As there.

    Raises:
        DataError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be made: {error.strerror}") from error
    write_png(path, array, compression=compression)
