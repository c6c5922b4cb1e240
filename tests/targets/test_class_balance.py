"""Class-balanced selection against sorting the confidences of each class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mixseg.targets.class_balance import (
    BINS,
    HALVINGS,
    ConfidenceHistogram,
    bin_of,
    confidence_of,
    selected,
)

CLASSES = 4


def by_sorting(
    labels: NDArray[np.uint8], confidence: NDArray[np.float32], share: float
) -> NDArray[np.uint8]:
    """The most confident round(share n) of the n pixels of each class, at least one, and ties."""
    kept = np.full_like(labels, 255)
    for index in range(CLASSES):
        of_class = np.sort(confidence[labels == index])[::-1]
        if len(of_class):
            last = of_class[max(1, round(share * len(of_class))) - 1]
            kept[(labels == index) & (confidence >= last)] = index
    return kept


def selection(
    labels: NDArray[np.uint8], confidence: NDArray[np.float32], share: float
) -> NDArray[np.uint8]:
    """The same through a histogram that sees an image at a time."""
    histogram = ConfidenceHistogram(CLASSES)
    pairs = [
        (torch.from_numpy(a), torch.from_numpy(b)) for a, b in zip(labels, confidence, strict=True)
    ]
    for pair in pairs:
        histogram.update(*pair)
    lowest = histogram.lowest_bins(share)
    return torch.stack([selected(*pair, lowest) for pair in pairs]).numpy()


def unbalanced(random: np.random.Generator) -> NDArray[np.uint8]:
    """Labels of five images, of which the last class has one pixel and the third none."""
    labels = random.choice(CLASSES, size=(5, 40, 50), p=[0.9, 0.1, 0, 0]).astype(np.uint8)
    labels[2, 3, 4] = CLASSES - 1
    return labels


@pytest.mark.parametrize("share", [1e-4, 0.2, 0.37, 1.0])
def test_distinct_confidences_are_selected_as_by_sorting(share: float) -> None:
    random = np.random.default_rng(0)
    labels = unbalanced(random)
    middles = (random.permutation(BINS)[: labels.size] + 0.5) * HALVINGS / BINS
    confidence = (1 - np.exp2(-middles)).astype(np.float32).reshape(labels.shape)
    # Beyond half of the halvings neighboring bins are less than one float32 apart.
    confidence[middles.reshape(labels.shape) > HALVINGS / 2] = 0
    labels[confidence == 0] = 2
    expected = by_sorting(labels, confidence, share)
    np.testing.assert_array_equal(selection(labels, confidence, share), expected)
    assert {*np.unique(expected)} >= {0, 1, 2}


@pytest.mark.parametrize("sharpness", [1, 20])
def test_any_confidences_are_selected_but_for_the_last_bin(sharpness: int) -> None:
    random = np.random.default_rng(1)
    labels = unbalanced(random)
    confidence = (1 - random.random(labels.shape) ** sharpness).astype(np.float32)
    exact = by_sorting(labels, confidence, 0.2)
    found = selection(labels, confidence, 0.2)
    assert (found[exact != 255] == exact[exact != 255]).all()
    assert ((found == 255) | (found == labels)).all()
    for index in (0, 1, CLASSES - 1):
        more = (found == index) & (exact == 255)
        last = confidence[exact == index].min()
        # A bin is 0.1 % of the distance to certainty, or what float32 tells apart.
        assert (1 - confidence[more] <= 1.0011 * (1 - last) + 2.0**-24).all()


def test_certain_pixels_all_count_and_thresholds_are_confidences() -> None:
    labels = torch.zeros(10, dtype=torch.uint8)
    confidence = torch.tensor([1.0] * 4 + [0.5] * 6)
    histogram = ConfidenceHistogram(CLASSES)
    histogram.update(labels, confidence)
    lowest = histogram.lowest_bins(0.2)
    assert selected(labels, confidence, lowest).tolist() == [0] * 4 + [255] * 6
    grid = torch.linspace(0, 1, 100_001)
    assert (bin_of(grid).diff() >= 0).all()
    assert (confidence_of(bin_of(grid)) <= grid.double() + 2.0**-23).all()
