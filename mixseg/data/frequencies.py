"""How often each class occurs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixseg.data.check import spread
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.names import composed_keys
from mixseg.data.statistics import label_statistics
from mixseg.errors import DataError, unknown_name
from mixseg.strict_yaml import dump_yaml, load_yaml

LARGEST = 10**12
"""Bound of a share in a file; they are normalised anyway."""


def class_frequencies(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    limit: int | None = None,
    cache: Path | None = None,
    *,
    skip_bad: bool = False,
) -> NDArray[np.float64]:
    """The share of each class among the labelled pixels of some samples.

    Args:
        dataset: A labelled data set.
        indices: The samples.
        limit: Most label files to count, at equal distances; None counts all.
        cache: As in :func:`mixseg.data.statistics.label_statistics`.
        skip_bad: Leave out labels that cannot be read.

    Returns:
        float64, shape (C,), summing to 1.

    Raises:
        DataError: A label is missing or damaged, or no pixel is labelled.
    """
    chosen = indices if limit is None else spread(indices, limit)
    for index in chosen:
        if dataset.samples[index].label is None:
            raise DataError(f"{dataset.samples[index].image} has no label file")
    counted = label_statistics(dataset, chosen, cache)
    for problem in counted.problems.values():
        if not skip_bad:
            raise DataError(problem)
    if not counted.pixels.any():
        raise DataError(f"{dataset.name} {dataset.split!r} has no labelled pixel to count")
    return counted.shares


def dump_frequencies(shares: NDArray[np.float64], classes: ClassSet) -> str:
    """Shares, float64 of shape (C,), as the file that :func:`read_frequencies` reads."""
    pairs = zip(classes.names, shares.tolist(), strict=True)
    return dump_yaml(dict(pairs))


def read_frequencies(file: Path, classes: ClassSet) -> NDArray[np.float64]:
    """Shares from a YAML file with a line ``CLASS: SHARE`` for each class; they are normalised.

    Raises:
        DataError: A class is unknown or missing, or a share is no number of at least 0.
        ConfigError: The file is not strict YAML.
    """
    loaded = load_yaml(file)
    given = composed_keys(loaded.data, str(file))
    for key, (name, share) in zip(loaded.data, given.items(), strict=True):
        where = f"{file}, line {loaded.line((key,))}"
        if name not in classes.names:
            raise DataError(f"{where}: {unknown_name('class', str(name), classes.names)}")
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 <= share <= LARGEST:  # NaN is not either
            raise DataError(
                f"{where}: {str(share)[:20]} is not a share; expected a number from 0 to {LARGEST}"
            )
    return _normalised(given, classes, str(file))


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
    given = composed_keys(given, where)
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
