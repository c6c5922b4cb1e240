from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mixseg.active.diversity import choose


def directions(count: int, seed: int = 0) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(size=(count, 8))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    directions: NDArray[np.float32] = (found / lengths).astype(np.float32)
    return directions


def test_without_diversity_the_scores_decide() -> None:
    scores = np.random.default_rng(1).random(30)
    assert choose(scores, directions(30), 30, 0.0) == np.argsort(-scores).tolist()


@pytest.mark.parametrize("diversity", [0.05, 0.5, 1.0])
def test_no_duplicate_before_everything_else(diversity: float) -> None:
    scores = np.array([0.9, 0.9, 0.8, 0.1, 0.2, 0.05])
    features = directions(6)
    features[1] = features[0]
    features[2] = 4 * features[0]  # another length, the same direction
    chosen = choose(scores, features, 6, diversity)
    assert chosen[0] == 0 and chosen[4:] == [1, 2]
    # What is labeled already is no better.
    known = features[4:5]
    assert choose(scores, features, 6, diversity, known)[-3:] == [1, 2, 4]


@pytest.mark.parametrize("diversity", [0.4, 1.0])
def test_the_greedy_choice_written_out(diversity: float) -> None:
    scores, features = np.random.default_rng(2).random(40), directions(40)
    known = directions(3, seed=1)
    taken: list[int] = []
    for _ in range(10):
        values = []
        for index in range(40):
            centers = [*known, *(features[one] for one in taken)]
            nearest = min(float(np.linalg.norm(features[index] - one)) for one in centers)
            values.append(scores[index] ** (1 - diversity) * nearest**diversity)
        for one in taken:
            values[one] = -1
        taken.append(int(np.argmax(values)))
    assert choose(scores, features, 10, diversity, known) == taken


def test_images_of_no_features_and_scores_of_zero() -> None:
    assert choose(np.zeros(3), np.zeros((3, 4), dtype=np.float32), 5, 0.5) == [0, 1, 2]
