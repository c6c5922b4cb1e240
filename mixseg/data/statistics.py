"""Statistics of a data set: its classes, their positions, image sizes and damaged files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from mixseg.config.values import Size
from mixseg.config.yaml import dump_yaml
from mixseg.data.check import size_in_header, spread
from mixseg.data.contract import ClassSet, SegmentationDataset, unequal_sizes
from mixseg.data.images import LabelArray
from mixseg.data.loading import in_processes
from mixseg.data.masks import LabelReader
from mixseg.data.names import composed_keys, read_by_class
from mixseg.errors import DataError, unknown_name
from mixseg.files import default_cache, opened, read_json, write_atomically
from mixseg.ignore import IGNORE

GRID = (32, 64)
"""Rows and columns of the cells of a label in which the positions of classes are counted."""

LARGEST_SHARE = 10**12
"""Largest share of a class in a file; shares are normalized anyway."""

OnCount = Callable[[int, int], None]
"""Called with the number of files read and of all."""

_FORM = 2
"""Version of the cached counts; others are not read."""


@final
@dataclass(frozen=True)
class LabelStatistics:
    """Counts over some labels of a data set."""

    labels: int  # number of labels that could be read
    pixels: NDArray[np.int64]  # shape (C,): pixels of each class
    images: NDArray[np.int64]  # shape (C,): labels that hold each class
    void: int  # pixels of no class
    # Shape (C, *GRID), in [0, 1]: mean over labels of the share of a class in each cell's pixels.
    occupancy: NDArray[np.float64]
    problems: Mapping[str, str]  # sample id -> why its label could not be read

    @property
    def shares(self) -> NDArray[np.float64]:
        """float64, shape (C,): share of each class among the labeled pixels; 0 without any."""
        shares: NDArray[np.float64] = self.pixels / max(1, int(self.pixels.sum()))
        return shares


class ImageStatistics(NamedTuple):
    """Sizes of some images of a data set."""

    sizes: Mapping[Size, int]  # (height, width) -> number of images, the most frequent first
    problems: Mapping[str, str]  # sample id -> why its image is damaged or does not fit its label


def label_statistics(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    cache: Path | None = None,
    on_count: OnCount | None = None,
) -> LabelStatistics:
    """Count the labels of some samples; those without a label are passed over.

    The counts are cached, by default in :func:`mixseg.files.default_cache`, as long as paths, sizes
    and times of change of the files and the meaning of ids stay the same. Nothing is cached where a
    label could not be read: it may be mended. ``on_count`` is called after each label.
    """
    labeled = [index for index in indices if dataset.samples[index].label is not None]
    file = _cache_file(dataset, labeled, default_cache() if cache is None else cache)
    count = len(dataset.classes)
    kept = None if file is None else _read_labels(file, count)
    if kept is not None:
        return kept
    pixels, images = (np.zeros(count + 1, dtype=np.int64) for _ in range(2))
    occupancy = np.zeros((count + 1, *GRID))
    problems = {}
    for done, index in enumerate(labeled, start=1):
        try:
            label = np.minimum(dataset.label(index), count)  # no class becomes one more
        except DataError as error:
            problems[dataset.samples[index].id] = str(error)
        else:
            found = np.bincount(label.ravel(), minlength=count + 1)
            pixels += found
            images += found > 0
            occupancy += _in_cells(label, count + 1)
        if on_count is not None:
            on_count(done, len(labeled))
    read = len(labeled) - len(problems)
    occupancy = occupancy[:count] / max(1, read)
    statistics = LabelStatistics(
        read, pixels[:count], images[:count], int(pixels[count]), occupancy, problems
    )
    if file is not None and not problems:
        _remember(file, statistics)
    return statistics


def image_statistics(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    on_count: OnCount | None = None,
) -> ImageStatistics:
    """Read the images of some samples whole, as a truncated file has an intact header.

    They are compared with the sizes in the headers of their labels, where there is one.
    """
    sizes: Counter[Size] = Counter()
    problems = {}
    for done, index in enumerate(indices, start=1):
        sample = dataset.samples[index]
        try:
            height, width = dataset.image(index).shape[:2]
            label = None
            with contextlib.suppress(DataError):  # is a problem of the labels
                label = None if sample.label is None else size_in_header(sample.label)
            if label not in (None, (height, width)):
                raise DataError(unequal_sizes(sample, (height, width), label))
            sizes[height, width] += 1
        except DataError as error:
            problems[sample.id] = str(error)
        if on_count is not None:
            on_count(done, len(indices))
    return ImageStatistics(dict(sizes.most_common()), problems)


def class_frequencies(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    limit: int | None = None,
    cache: Path | None = None,
    *,
    skip_bad: bool = False,
) -> NDArray[np.float64]:
    """The share of each class among the labeled pixels of some samples, float64, shape (C,).

    A ``limit`` counts that many label files, at equal distances; ``skip_bad`` leaves out labels
    that cannot be read.

    Raises:
        DataError: A label is missing or damaged, or no pixel is labeled.
    """
    chosen = indices if limit is None else spread(indices, limit)
    for index in chosen:
        if dataset.samples[index].label is None:
            raise DataError(f"{dataset.samples[index].image} has no label file")
    counted = label_statistics(dataset, chosen, cache)
    if counted.problems and not skip_bad:
        raise DataError(next(iter(counted.problems.values())))
    if not counted.pixels.any():
        raise DataError(f"{dataset.name} {dataset.split!r} has no labeled pixel to count")
    return counted.shares


def label_pixels(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    *,
    recorded: Path | None = None,
    cache: Path | None = None,
    workers: int = 0,
    skip_bad: bool = False,
    on_count: OnCount | None = None,
) -> NDArray[np.int64]:
    """Count the pixels of each class in each label of some samples.

    They are cached as those of :func:`label_statistics` are.

    Args:
        dataset: The data set.
        indices: Samples that have a label.
        recorded: A file of :func:`dump_pixels`, whose counts of these samples are taken.
        cache: Folder of the cache, by default :func:`mixseg.files.default_cache`.
        workers: Processes that read; 0 reads in this one.
        skip_bad: Whether a label that cannot be read counts as one without a pixel.
        on_count: Called before the first label, and after each.

    Returns:
        int64, shape (N, C + 1), in the order of the indices; the last column is pixels of no class.

    Raises:
        DataError: A label cannot be read, or no pixel is labeled.
        TrainingError: A process that reads died.
    """
    count = len(dataset.classes)
    key = pixels_key(dataset, indices)
    cache = default_cache() if cache is None else cache
    file = _cache_file(dataset, indices, cache, "pixels-{}.json")
    for kept in filter(None, (recorded, file)):
        found = _read_pixels(kept, key, (len(indices), count + 1))
        if found is not None:
            return found
    read = functools.partial(_pixels_of_label, dataset, skip_bad=skip_bad)
    rows: list[bytes] = []
    if on_count is not None:
        on_count(0, len(indices))
    for row in in_processes(read, indices, workers, f"reading labels of {dataset.root}"):
        rows.append(row)
        if on_count is not None:
            on_count(len(rows), len(indices))
    none = np.zeros(count + 1, dtype=np.int64).tobytes()
    content = bytearray().join(row or none for row in rows)  # writable
    pixels = np.frombuffer(content, dtype=np.int64).reshape(-1, count + 1)
    if not pixels[:, :count].any():
        raise DataError(f"{dataset.name} {dataset.split!r} has no labeled pixel to count")
    if file is not None and all(rows):
        with contextlib.suppress(OSError):  # as in _remember
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, dump_pixels({key: pixels}))
    return pixels


def pixels_key(dataset: SegmentationDataset, indices: Sequence[int]) -> str:
    """A name for counts of labels: other ids, sizes of files or classes give another one."""
    samples = [dataset.samples[index] for index in indices]
    files = [(one.id, None if one.label is None else _bytes(one.label)) for one in samples]
    meaning = [dataset.classes.names, dataset.lookup.tolist(), files]
    return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()


def dump_pixels(counts: Mapping[str, NDArray[np.int64]]) -> str:
    """Counts by their :func:`pixels_key`, as the file that :func:`label_pixels` reads."""
    return json.dumps({key: pixels.tolist() for key, pixels in counts.items()})


def _read_pixels(file: Path, key: str, shape: tuple[int, int]) -> NDArray[np.int64] | None:
    """The counts of a key in a file; None where they are absent or damaged."""
    try:
        pixels = np.array(read_json(file)[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = pixels.shape == shape and pixels.dtype == np.int64 and pixels.min() >= 0
    return pixels if fits and pixels[:, :-1].any() else None


def _pixels_of_label(dataset: SegmentationDataset, index: int, *, skip_bad: bool) -> bytes:
    """int64, of each class and of none; empty where the label cannot be read.

    As bytes, since loader processes would hand over arrays as tensors.
    """
    try:
        found = np.bincount(dataset.label(index).ravel(), minlength=IGNORE + 1)
    except DataError:
        if not skip_bad:
            raise
        return b""
    return np.append(found[: len(dataset.classes)], found[IGNORE]).astype(np.int64).tobytes()


def _bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:  # said when it is read; or no file at all
        return None


def dump_frequencies(shares: NDArray[np.float64], classes: ClassSet) -> str:
    """Shares, float64 of shape (C,), as the file that :func:`read_frequencies` reads."""
    return dump_yaml(dict(zip(classes.names, shares.tolist(), strict=True)))


def read_frequencies(file: Path, classes: ClassSet) -> NDArray[np.float64]:
    """Shares from a YAML file with a line ``CLASS: SHARE`` for each class; they are normalized.

    Raises:
        DataError: A class is unknown or missing, or a share is not a number of at least 0.
        ConfigError: The file is not strict YAML.
    """
    given = read_by_class(file, classes.names, "class", _problem_of_share)
    return frequencies_of(given, classes, str(file))


def frequencies_of(
    given: Mapping[str, float], classes: ClassSet, where: str
) -> NDArray[np.float64]:
    """Shares of the classes in order, float64 of shape (C,), normalized to a sum of 1.

    ``given`` holds a number of at least 0 for each class; ``where`` is named in errors.

    Raises:
        DataError: A class is unknown or missing, a share is negative, or all are 0.
    """
    given = composed_keys(given, where)
    for name, share in given.items():
        if name not in classes.names:
            raise DataError(f"{where}: {unknown_name('class', name, classes.names)}")
        if problem := _problem_of_share(share):
            raise DataError(f"{where}: {name}: {problem}")
    missing = [name for name in classes.names if name not in given]
    if missing:
        raise DataError(f"{where}: no share for {', '.join(missing)}")
    shares = np.array([float(given[name]) for name in classes.names])
    total = float(shares.sum())
    if total <= 0:
        raise DataError(f"{where}: all shares are 0")
    # Saved shares come back to the bit, or a resumed run would differ.
    return shares if abs(total - 1) < 1e-9 else shares / total


def _problem_of_share(share: Any) -> str:
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if number and 0 <= share <= LARGEST_SHARE:  # refuses NaN
        return ""
    return f"{str(share)[:20]} is not a share; expected a number from 0 to {LARGEST_SHARE}"


def _in_cells(label: LabelArray, count: int) -> NDArray[np.float64]:
    """The share of each id in each cell, float64, shape (count, *GRID)."""
    height, width = GRID
    # A label with fewer rows than the grid is repeated.
    taken, cells = [], []
    for own, count_of_cells in zip(label.shape, GRID, strict=True):
        steps = np.arange(max(own, count_of_cells))
        taken.append(steps * own // len(steps))
        cells.append(steps * count_of_cells // len(steps))
    cell = cells[0][:, None] * width + cells[1]
    flat = label[np.ix_(*taken)].astype(np.int64) * (height * width) + cell
    found = np.bincount(flat.ravel(), minlength=count * height * width)
    area = np.bincount(cell.ravel(), minlength=height * width).reshape(GRID)
    shares: NDArray[np.float64] = found.reshape(count, *GRID) / area
    return shares


def _cache_file(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    cache: Path,
    name: str = "labels-{}.npz",
) -> Path | None:
    """The cache file for the counts of these labels; None where they have no files."""
    if not dataset.in_files:
        return None
    reader = dataset.read_raw_label
    colors = reader.colors if isinstance(reader, LabelReader) else ()
    meaning = (_FORM, GRID, dataset.classes, dataset.lookup.tolist(), colors)
    digest = hashlib.sha256(repr(meaning).encode())
    for path in sorted(str(dataset.samples[index].label) for index in indices):
        try:
            found = Path(path).stat()
            digest.update(repr((path, found.st_size, found.st_mtime_ns)).encode())
        except OSError:  # said when it is read
            digest.update(repr((path, "missing")).encode())
    return cache / "statistics" / name.format(digest.hexdigest()[:32])


_DAMAGED = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)
"""Errors of reading a cache file that is absent, truncated or something else."""


def _read_labels(file: Path, classes: int) -> LabelStatistics | None:
    """Statistics from the cache; None where they are absent or damaged."""
    try:
        with opened(file) as content, np.load(content, allow_pickle=False) as kept:
            pixels, images = (
                kept[name].astype(np.int64, casting="safe") for name in ("pixels", "images")
            )
            occupancy = kept["occupancy"].astype(np.float64, casting="safe")
            labels, void = int(kept["labels"]), int(kept["void"])
    except _DAMAGED:
        return None
    shapes = (pixels.shape, images.shape, occupancy.shape)
    if shapes != ((classes,), (classes,), (classes, *GRID)):
        return None
    return LabelStatistics(labels, pixels, images, void, occupancy, {})


def _remember(file: Path, statistics: LabelStatistics) -> None:
    content = io.BytesIO()
    kept = {key: value for key, value in vars(statistics).items() if key != "problems"}
    np.savez_compressed(content, **kept)
    with contextlib.suppress(OSError):  # a full or read-only cache costs time, not the run
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content.getvalue())
