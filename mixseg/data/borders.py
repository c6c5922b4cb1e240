"""Classes that belong together, found by the borders between them in label maps.

A rider is bordered by a bicycle more often than by other things of its size. Large regions, such as
road and sky, border everything, and what they border says little: pairs are looked for among the
classes of less than the mean share of the pixels. Among these, the length of border that two
classes have in common is compared with what the lengths of their borders alone would give: were
borders drawn at random, classes i and j would share u_i u_j, where u solves
u_i (sum of u - u_i) = b_i and b_i is the length of all borders of i with such classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixseg.data.check import spread
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.images import LabelArray
from mixseg.errors import DataError
from mixseg.files import read_json

LIFT = 2.25
"""How many times the length that a random border would have a common one has to be."""

SHARE = 0.35
"""Least share of a common border in all borders of one of the two classes with small classes."""

TOUCHING = 5
"""In how many labels two classes have to touch, so that no single image makes a pair."""

LABELS = 1000
"""Most label files that are counted."""

IDS = 256
"""Train ids and 255, as the values of 8 bits."""


@final
class Borders:
    """Counts over some label maps of C classes.

    Attributes:
        pixels: int64, shape (C,): pixels of each class.
        lengths: int64, shape (C, C), symmetric: neighboring pixels, side by side or one below the
            other, of which one is of the one class and one of the other; 0 on the diagonal.
        touching: int64, shape (C, C), symmetric: labels in which the two have such neighbors.
    """

    def __init__(self, count: int) -> None:
        self.pixels = np.zeros(count, dtype=np.int64)
        self.lengths, self.touching = (np.zeros((count, count), dtype=np.int64) for _ in range(2))

    def add(self, label: LabelArray) -> None:
        """Count a map of train ids, uint8, shape (height, width), 255 = ignore."""
        count = len(self.pixels)
        self.pixels += np.bincount(label.reshape(-1), minlength=IDS)[:count]
        found = np.zeros(IDS * IDS, dtype=np.int64)
        sides = ((label[:, :-1], label[:, 1:]), (label[:-1], label[1:]))
        for one, other in sides:
            differ = one != other
            pairs = one[differ].astype(np.int64) * IDS + other[differ]
            found += np.bincount(pairs, minlength=IDS * IDS)
        lengths = found.reshape(IDS, IDS)[:count, :count]
        lengths = lengths + lengths.T
        self.lengths += lengths
        self.touching += lengths > 0

    def related(self) -> NDArray[np.bool_]:
        """Which classes belong together: bool, shape (C, C), symmetric, false on the diagonal."""
        there = self.pixels > 0
        mean = self.pixels.sum() / max(1, there.sum())
        small = np.flatnonzero(there & (self.pixels < mean))
        lengths = self.lengths[np.ix_(small, small)].astype(np.float64)
        expected = random_lengths(lengths.sum(axis=1))
        own = np.maximum(lengths.sum(axis=1), 1)
        share = lengths / np.minimum(own[:, None], own)
        found = (lengths >= LIFT * expected) & (share >= SHARE)
        related = np.zeros_like(self.lengths, dtype=np.bool_)
        related[np.ix_(small, small)] = found
        return related & (self.touching >= TOUCHING)


def random_lengths(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected common borders of classes that have borders of these lengths, if they are random.

    Args:
        lengths: Of all borders of each class, shape (N,).

    Returns:
        u_i u_j for i != j, shape (N, N), whose rows sum up to ``lengths`` if that is possible: no
        class may have more border than all others together.
    """
    factors = lengths / max(1.0, float(lengths.sum()) ** 0.5)
    for _ in range(200):  # a geometric mean of the last two values, which does not oscillate
        others = np.maximum(factors.sum() - factors, 1e-9)
        factors = np.sqrt(factors * lengths / others)
    expected = np.outer(factors, factors)
    np.fill_diagonal(expected, 0)
    return expected


def related_by_borders(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    limit: int = LABELS,
    *,
    skip_bad: bool = False,
) -> NDArray[np.bool_]:
    """Which classes belong together by the labels of some samples: bool, shape (C, C), symmetric.

    At most ``limit`` labels are counted, at equal distances; ``skip_bad`` leaves out those that
    cannot be read.

    Raises:
        DataError: A label is missing or damaged.
    """
    borders = Borders(len(dataset.classes))
    for index in spread(indices, limit):
        try:
            borders.add(dataset.label(index))
        except DataError:
            if not skip_bad:
                raise
    return borders.related()


def named_pairs(related: NDArray[np.bool_], classes: ClassSet) -> list[tuple[str, str]]:
    """The names of two related classes each, in the order of their train ids."""
    pairs = np.argwhere(np.triu(related))
    return [(classes.names[one], classes.names[other]) for one, other in pairs.tolist()]


def dump_pairs(related: NDArray[np.bool_], classes: ClassSet) -> str:
    """Related classes, bool (C, C), as the file that :func:`read_pairs` reads."""
    return json.dumps(named_pairs(related, classes), ensure_ascii=False) + "\n"


def read_pairs(file: Path, classes: ClassSet) -> NDArray[np.bool_]:
    """Related classes, bool (C, C), symmetric, from a JSON list of pairs of names.

    Raises:
        DataError: It is damaged, or names an unknown class.
    """
    related = np.zeros((len(classes), len(classes)), dtype=np.bool_)
    try:
        for one, other in read_json(file):
            place = classes.names.index(one), classes.names.index(other)
            related[place] = related[place[::-1]] = True
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: is not a list of pairs of classes: {error}") from error
    return related
