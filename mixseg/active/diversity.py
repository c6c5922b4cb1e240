"""Choosing images that are worth a label and unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FARTHEST = 2.0
"""The distance of opposite directions, which stands where there is nothing to be distant from."""


def choose(
    scores: NDArray[np.float64],
    features: NDArray[np.float32],
    budget: int,
    diversity: float,
    known: NDArray[np.float32] | None = None,
) -> list[int]:
    """Greedy weighted farthest points: one image after the other, each the largest in

    score^(1 - diversity) * distance^diversity,

    where the distance is that to the closest image that was chosen before or is known. A diversity
    of 0 takes the highest scores, 1 is the greedy k-center choice. A duplicate has distance 0, and
    comes after all others. Of equal ones the higher score is first, then the first.

    Args:
        scores: At least 0, shape (N,).
        features: Shape (N, K); distances are between directions, at most :data:`FARTHEST`.
        budget: How many are chosen, at most N.
        diversity: In [0, 1].
        known: Features of images that are labeled already, shape (M, K).

    Returns:
        Indices in the order of the choice.
    """
    directions = _directions(features)
    closest = np.full(len(scores), FARTHEST)
    if known is not None and len(known):
        centers = _directions(known)
        # In parts, so that no matrix of all pairs is in memory.
        closest = np.concatenate(
            [_distances(part, centers).min(axis=1) for part in np.array_split(directions, 64)]
        )
    chosen: list[int] = []
    left = np.ones(len(scores), dtype=bool)
    for _ in range(min(budget, len(scores))):
        value = scores ** (1 - diversity) * closest**diversity
        # The last key of lexsort is the first to count.
        best = int(np.lexsort((-scores, -value, ~left))[0])
        chosen.append(best)
        left[best] = False
        closest = np.minimum(closest, _distances(directions, directions[best : best + 1])[:, 0])
    return chosen


def _directions(features: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = features.astype(np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    directions: NDArray[np.float64] = exact / np.maximum(length, np.finfo(np.float64).tiny)
    return directions


def _distances(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distances of directions, shape (some, others); those of equal ones are 0."""
    squares: NDArray[np.float64] = 2 - 2 * some @ others.T
    squares[squares < 1e-12] = 0  # what rounding leaves of 0
    return np.sqrt(squares)
