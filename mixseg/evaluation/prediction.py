"""Predictions of photographs as files, and networks side by side."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from mixseg.config.values import Size
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.images import PNG_COMPRESSION, ImageArray, LabelArray, read_photograph, write_png
from mixseg.data.loading import usable_cores
from mixseg.data.pairing import IMAGE_ENDINGS
from mixseg.distributed import by_first, world
from mixseg.errors import ConfigError, DataError, unknown_name
from mixseg.evaluation.inference import (
    Autocast,
    InferenceMode,
    predict_labels,
    predict_probabilities,
)
from mixseg.evaluation.pictures import (
    ENCODINGS,
    OVERLAY,
    PICTURES,
    USUAL_PICTURES,
    Column,
    Encode,
    Row,
    comparison,
    overlay,
    reduced,
    with_legend,
)

OnPhotograph = Callable[[str, ImageArray, LabelArray], None]
"""Called with the name of a photograph, its pixels and its prediction."""

OVERLAY_COMPRESSION = 2
"""Less than :data:`mixseg.data.images.PNG_COMPRESSION`: the overlay of a photograph gets a seventh
larger and takes a fifth of the time; label maps would double."""

PANEL = 1024
"""Most pixels of a side of a photograph in its own picture of several networks."""

THUMBNAIL = 320
"""Most pixels of a side of a photograph in the sheet."""

NOTICEABLE = 0.1
"""Relative change of the aspect ratio from which on a note is shown."""

MOST_THREADS = 8
"""Most threads that write files; more would take cores from reading and predicting."""

WAITING_PIXELS = 2**25
"""Most pixels of images whose pictures wait or are being written: 16 frames of 1920x1080."""

TOO_MUCH_MEMORY = (
    "does not fit into memory; show it to the network smaller (--resize HEIGHTxWIDTH) or in "
    "windows (--mode slide --window HEIGHTxWIDTH)"
)


class Failure(NamedTuple):
    """An image that was skipped, and why; the reason names the file."""

    path: Path
    reason: str


@final
@dataclass(frozen=True)
class Predictor:
    """A network and how it is applied to photographs.

    Attributes:
        model: Called with float images in [0, 1], (B, 3, H, W); returns logits (B, C, H, W) with
            one channel per class. Must already be on ``device``.
        classes: Names and colors of what the model predicts.
        input_size: Height and width that images are resized to for the network; None keeps them.
        mode: Defaults to the whole image, once.
        device: Where the model runs.
        autocast: Makes the context of each forward pass.
    """

    model: nn.Module
    classes: ClassSet
    input_size: Size | None = None
    mode: InferenceMode | None = None
    device: torch.device | str = "cpu"
    autocast: Autocast = nullcontext

    def __call__(self, image: ImageArray) -> LabelArray:
        """The train ids of an RGB image, uint8, as large as the image."""
        labels = predict_labels(
            self.model,
            self.pixels(image),
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
            self.pixels(image),
            self.mode,
            size=(image.shape[0], image.shape[1]),
            autocast=self.autocast,
        ).cpu()

    def pixels(self, image: ImageArray) -> Tensor:
        """An RGB uint8 image as the network is shown it: float in [0, 1], shape (1, 3, h, w)."""
        # Pillow shares its pixels with numpy read-only, and torch warns of read-only arrays.
        pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)
        if self.input_size is not None:
            pixels = transforms.resize(pixels, list(self.input_size), antialias=True)
        return pixels[None].to(self.device).float().div(255)


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
    is either complete or absent, and replaces one of its name.

    Args:
        predictor: The network and how it is applied.
        paths: Image files and folders.
        output_dir: Is made if it does not exist.
        formats: Names in :data:`PICTURES`.
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

    def write_one(kind: str, path: Path, image: ImageArray, labels: LabelArray) -> None:
        classes = predictor.classes
        if kind == OVERLAY:
            picture = with_legend(overlay(image, labels, classes), labels, classes)
            write_picture(path, picture, OVERLAY_COMPRESSION)
        else:
            write_picture(path, ENCODINGS[kind](labels, classes))

    def predict_one(path: Path, name: str) -> str | None:
        """Returns why the image was skipped, if it was."""
        try:
            image = read_photograph(path)
        except DataError as error:
            return str(error)
        try:
            labels = predictor(image)
            if on_image is not None:
                on_image(name, image, labels)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            return f"{path}: {TOO_MUCH_MEMORY}"
        files = {kind: output_dir / kind / f"{name}.png" for kind in formats}
        write(labels.size, [partial(write_one, *file, image, labels) for file in files.items()])
        return None

    rank, size = world()
    images = collect_images(paths, exclude=output_dir)[rank::size]
    failures = []
    with picture_writer() as write:
        for done, (path, name) in enumerate(images, start=1):
            if (reason := predict_one(path, name)) is not None:
                failures.append(Failure(path, reason))
            if on_progress is not None:
                on_progress(done, len(images))
    return failures


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed; on a CPU torch says so by a plain RuntimeError."""
    known = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, known) or "allocate memory" in str(error)


def write_picture(path: Path, array: NDArray[np.uint8], compression: int = PNG_COMPRESSION) -> None:
    """Write a PNG, whole or not at all; its folder is made.

    Raises:
        DataError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be made: {error.strerror}") from error
    write_png(path, array, compression=compression)


def new_folder(path: Path, flag: str) -> Path:
    """An empty folder, made by the first process; errors name ``flag``."""

    def make() -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"{flag} {path}: exists and is not empty; nothing is overwritten")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{flag} {path}: cannot be made: {error.strerror}") from error

    by_first(make)
    return path


def prediction_saver(
    folder: Path, dataset: SegmentationDataset, encode: Encode, classes: ClassSet
) -> Callable[[int, LabelArray], None]:
    """A function that writes the prediction of a sample, by its index, under the sample's id."""

    def save(index: int, prediction: LabelArray) -> None:
        path = folder / f"{dataset.samples[index].id}.png"
        write_picture(path, encode(prediction, classes))

    return save


def squash_note(name: str, image: ImageArray, sizes: Collection[Size]) -> str:
    """A note if ``data.resize``, one of ``sizes``, changes the shape of a photograph."""
    height, width = image.shape[:2]
    for rows, columns in sizes:
        ratio = columns * height / (rows * width)
        change = max(ratio, 1 / ratio) - 1
        if change > NOTICEABLE:
            return (
                f"note: {name} is {height}x{width} and reaches the network as {rows}x{columns} "
                f"(data.resize of the run), which changes its shape by {100 * change:.0f} %; "
                "--resize HEIGHTxWIDTH gives another size, --resize none keeps each image's "
                "own. Further images are not named"
            )
    return ""


def collect_images(paths: Sequence[Path], exclude: Path | None = None) -> list[tuple[Path, str]]:
    """The images among files and folders, each with a name for what is written about it.

    The name of a file is its stem; that of a file in a folder is its path below the folder, with
    forward slashes, without the suffix. Where images would share a name (``a.png`` and ``a.jpg``,
    or two folders with the same content), later ones keep their suffix or get a number; names
    differ also where a file system does not tell capitals apart.

    Args:
        paths: Image files, and folders that are searched for them recursively and in order, but
            for hidden files and folders.
        exclude: A folder whose files are left out, such as the one that results go to.

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
    for number in itertools.count(2):
        yield f"{plain} ({number})"


Write = Callable[[int, Sequence[Callable[[], None]]], None]
"""Takes the number of pixels of an image and the functions that write its files."""


@contextmanager
def picture_writer(threads: int | None = None) -> Iterator[Write]:
    """A few threads that write files.

    Packing a PNG takes longer than a prediction on a GPU, and Pillow lets other threads run
    meanwhile. A call blocks while too many pixels wait, so memory stays bounded: of photographs of
    100 megapixels one is written at a time. Errors are raised in the order of the calls, by a later
    call or at the end of the block. If the block ends with an error, what has not begun is left
    out.
    """
    count = min(MOST_THREADS, usable_cores()) if threads is None else threads
    pool = ThreadPoolExecutor(count, thread_name_prefix="pictures")
    waiting: deque[tuple[int, Future[None]]] = deque()

    def finish_first() -> None:
        waiting[0][1].result()
        waiting.popleft()

    def write(pixels: int, works: Sequence[Callable[[], None]]) -> None:
        while waiting and sum(held for held, _ in waiting) + pixels > WAITING_PIXELS:
            finish_first()
        while waiting and waiting[0][1].done():
            finish_first()
        # Works are finished in order, so the last one stands for the memory of all.
        for held, work in zip((*[0] * (len(works) - 1), pixels), works, strict=True):
            waiting.append((held, pool.submit(work)))

    try:
        yield write
        while waiting:
            finish_first()
    finally:
        pool.shutdown(cancel_futures=True)


@final
class SideBySide:
    """Draws what networks see in each photograph, and a sheet of the first photographs.

    It is an ``on_image`` of :func:`predict_files`, which hands in the predictions of the first
    network; the others are applied here. Of the photographs in the sheet only thumbnails are kept.
    """

    def __init__(
        self, output_dir: Path, titles: Sequence[str], networks: Sequence[Predictor], rows: int
    ) -> None:
        """The folder gets ``comparison/NAME.png``, and ``comparison.png`` of at most ``rows``."""
        self._output = output_dir
        pairs = zip(titles, networks, strict=True)
        self._columns = [Column(title, network.classes) for title, network in pairs]
        self._others = networks[1:]
        self._limit = rows
        self._rows: list[Row] = []

    def __call__(self, name: str, image: ImageArray, labels: LabelArray) -> None:
        """Write the picture of one photograph.

        Raises:
            DataError: It cannot be written.
        """
        row = Row(name, image, (labels, *(predict(image) for predict in self._others)))
        picture = comparison(self._columns, [reduced(row, PANEL)])
        write_picture(self._output / "comparison" / f"{name}.png", picture)
        if len(self._rows) < self._limit:
            self._rows.append(reduced(row, THUMBNAIL))

    def write_sheet(self) -> None:
        """Write the sheet; nothing if no photograph was handed in."""
        if self._rows:
            write_picture(self._output / "comparison.png", comparison(self._columns, self._rows))
