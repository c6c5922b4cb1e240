"""How often each class occurs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from mixseg.data.check import spread
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.errors import DataError, unknown_name
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
    missing = [name for name in classes.names if name not in loaded.data]
    if missing:
        raise DataError(f"{file}: says nothing of {', '.join(missing)}")
    shares = np.array([float(loaded.data[name]) for name in classes.names])
    if shares.sum() <= 0:
        raise DataError(f"{file}: all shares are 0")
    result: NDArray[np.float64] = shares / shares.sum()
    return result
