"""How often each class occurs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from mixseg.data.cache import default_cache
from mixseg.data.check import spread
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.errors import ConfigError, DataError, unknown_name
from mixseg.files import write_atomically
from mixseg.strict_yaml import load_yaml

LARGEST = 10**12
"""Bound of a share in a file; they are normalised anyway."""


def class_frequencies(
    dataset: SegmentationDataset, indices: Sequence[int], limit: int = 1000
) -> NDArray[np.float64]:
    """The share of each class among the labelled pixels of some samples.

    Args:
        dataset: A labelled data set.
        indices: The samples.
        limit: Most label files to read, at equal distances.

    Returns:
        float64, shape (C,), summing to 1.

    Raises:
        DataError: A label is missing or damaged, or no pixel is labelled.
    """
    counts = np.zeros(256, dtype=np.int64)
    for index in spread(indices, limit):
        counts += np.bincount(dataset.label(index).ravel(), minlength=256)
    known = counts[: len(dataset.classes)]
    if not known.any():
        raise DataError(f"{dataset.name} {dataset.split!r} has no labelled pixel to count")
    shares: NDArray[np.float64] = known / known.sum()
    return shares


def counted_once(
    dataset: SegmentationDataset, indices: Sequence[int], cache: Path | None = None
) -> NDArray[np.float64]:
    """:func:`class_frequencies` of all labels of these samples, remembered in the cache.

    Label files count as the same as long as their paths, sizes and times of change are, and ids
    mean the same.

    Args:
        dataset: A labelled data set.
        indices: The samples.
        cache: Folder of the cache; by default :func:`mixseg.data.cache.default_cache`.
    """
    digest = hashlib.sha256(repr((dataset.classes.names, dataset.lookup.tolist())).encode())
    for path in sorted(str(dataset.samples[index].label) for index in indices):
        found = Path(path).stat()
        digest.update(repr((path, found.st_size, found.st_mtime_ns)).encode())
    file = (default_cache() if cache is None else cache) / "frequencies"
    file = file / f"{digest.hexdigest()[:32]}.yaml"
    try:
        return read_frequencies(file, dataset.classes)
    except (DataError, ConfigError):  # absent, or damaged
        shares = class_frequencies(dataset, indices, limit=len(indices))
    with contextlib.suppress(OSError):  # a full or read-only cache costs time, not the run
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, dump_frequencies(shares, dataset.classes))
    return shares


def dump_frequencies(shares: NDArray[np.float64], classes: ClassSet) -> str:
    """Shares, float64 of shape (C,), as the file that :func:`read_frequencies` reads."""
    pairs = zip(classes.names, shares.tolist(), strict=True)
    text: str = yaml.safe_dump(dict(pairs), sort_keys=False, allow_unicode=True)
    return text


def read_frequencies(file: Path, classes: ClassSet) -> NDArray[np.float64]:
    """Shares from a YAML file with a line ``CLASS: SHARE`` for each class; they are normalised.

    Raises:
        DataError: A class is unknown or missing, or a share is no number of at least 0.
        ConfigError: The file is not strict YAML.
    """
    loaded = load_yaml(file)
    for name, share in loaded.data.items():
        where = f"{file}, line {loaded.line((name,))}"
        if name not in classes.names:
            raise DataError(f"{where}: {unknown_name('class', str(name), classes.names)}")
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 <= share <= LARGEST:  # NaN is not either
            raise DataError(
                f"{where}: {str(share)[:20]} is not a share; expected a number from 0 to {LARGEST}"
            )
    return _normalised(loaded.data, classes, str(file))


def frequencies_of(
    given: Mapping[str, float], classes: ClassSet, where: str
) -> NDArray[np.float64]:
    """Shares of the classes in order, float64 of shape (C,), normalised to a sum of 1.

    Args:
        given: Class -> number of at least 0.
        classes: All of them must be there, and no others.
        where: Named in errors.

    Raises:
        DataError: A class is unknown or missing, a share is negative, or all are 0.
    """
    for name, share in given.items():
        if name not in classes.names:
            raise DataError(f"{where}: {unknown_name('class', name, classes.names)}")
        if not 0 <= share <= LARGEST:
            raise DataError(f"{where}: {name}: {share} is not a share of at least 0")
    return _normalised(given, classes, where)


def _normalised(given: Mapping[str, float], classes: ClassSet, where: str) -> NDArray[np.float64]:
    missing = [name for name in classes.names if name not in given]
    if missing:
        raise DataError(f"{where}: says nothing of {', '.join(missing)}")
    shares = np.array([float(given[name]) for name in classes.names])
    total = float(shares.sum())
    if total <= 0:
        raise DataError(f"{where}: all shares are 0")
    # Shares that were saved come back to the bit, or a resumed run would not be the same.
    return shares if abs(total - 1) < 1e-9 else shares / total
