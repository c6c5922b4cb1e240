"""Selections of pseudo-labels against other formulations of them, by NumPy and SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter
from scipy.stats import entropy
from torch import Tensor

from mixseg.ignore import IGNORE
from mixseg.registry import WEIGHTINGS
from mixseg.targets import PseudoLabels, Weighting, pseudo_labels
from mixseg.targets.class_adaptive import ClassAdaptive
from mixseg.targets.percentile import lowest

CLASSES = 4
seeds = st.integers(0, 2**32)


def built(name: str, **options: Any) -> Weighting:
    paths = {f"targets.{option}": value for option, value in options.items()}
    return WEIGHTINGS.build(name, paths, num_classes=CLASSES, device=torch.device("cpu"))


def random_case(seed: int) -> tuple[PseudoLabels, Tensor]:
    """Pseudo-labels, and the validity mask."""
    random = torch.Generator().manual_seed(seed)
    valid = torch.rand(3, 6, 7, generator=random) < 0.8
    probabilities = (4 * torch.randn(3, CLASSES, 6, 7, generator=random)).softmax(1)
    return pseudo_labels(probabilities, valid), valid


def assert_lowest_are_kept(weights: Tensor, scores: Any, valid: Tensor, share: float) -> None:
    """Exactly the pixels of a share that have the lowest scores weigh 1."""
    kept, inside = weights.numpy() == 1, valid.numpy()
    assert set(np.unique(weights)) <= {0.0, 1.0}
    assert not kept[~inside].any()
    assert kept.sum() == round(share * int(inside.sum()))
    if kept.any() and (inside & ~kept).any():
        assert scores[kept].max() <= scores[inside & ~kept].min() + 1e-6


@settings(max_examples=40, deadline=None)
@given(seed=seeds, dropped=st.sampled_from([0.0, 0.2, 0.55, 1.0]))
def test_percentile_leaves_out_the_highest_entropy_of_the_batch(seed: int, dropped: float) -> None:
    pseudo, valid = random_case(seed)
    assert pseudo.probabilities is not None
    scores = entropy(pseudo.probabilities.numpy(), axis=1)
    for steps, step, left in ((0, 77, 1.0), (100, 0, 1.0), (100, 25, 0.75), (100, 300, 0.0)):
        weights = built("percentile", dropped=dropped, dropped_steps=steps)(pseudo, valid, step)
        assert_lowest_are_kept(weights, scores, valid, 1 - left * dropped)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, kept=st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_neighbors_keep_the_largest_supported_margins(seed: int, kept: float) -> None:
    pseudo, valid = random_case(seed)
    assert pseudo.probabilities is not None
    p = pseudo.probabilities.double().numpy()
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None]
    q = maximum_filter(p * valid[:, None].numpy(), footprint=cross, mode="constant", cval=0.0)
    # P(A or B) of independent events of probability p and q, the second one seen with exp(-1/2).
    supported = np.sort(1 - (1 - p) * (1 - math.exp(-0.5) * q), axis=1)
    margins = supported[:, -1] - supported[:, -2]
    weights = built("neighbors", margin_kept=kept)(pseudo, valid, 0)
    assert_lowest_are_kept(weights, -margins, valid, kept)


def test_neighbors_save_a_pixel_whose_surroundings_agree() -> None:
    # Three pixels with the same margin between class 0 and 1; around one of them all say 0.
    probabilities = torch.full((1, CLASSES, 5, 13), 0.25)
    for x, around in ((2, 0), (6, 1), (10, None)):
        if around is not None:
            probabilities[0, :, 1:4, x - 1 : x + 2] = 0.02
            probabilities[0, around, 1:4, x - 1 : x + 2] = 0.94
        probabilities[0, :, 2, x] = torch.tensor([0.45, 0.35, 0.1, 0.1])
    valid = torch.zeros(1, 5, 13, dtype=torch.bool)
    valid[0, 1:4] = True
    pseudo = pseudo_labels(probabilities, valid)
    weights = built("neighbors", margin_kept=0.45)(pseudo, valid, 0)
    assert weights[0, 2, [2, 6, 10]].tolist() == [1, 0, 0]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_equal_scores_are_kept_together_and_nothing_is_kept_of_padding(share: float) -> None:
    valid = torch.ones(2, 3, 4, dtype=torch.bool)
    equal = lowest(torch.zeros(2, 3, 4), valid, share)
    assert float(equal.mean()) == (share > 0)
    assert not lowest(torch.zeros(2, 3, 4), ~valid, share).any()


@settings(max_examples=30, deadline=None)
@given(seed=seeds, decay=st.sampled_from([0.0, 0.5, 0.99]))
def test_thresholds_of_classes_follow_their_mean_confidence(seed: int, decay: float) -> None:
    weighting = built("class-adaptive", threshold=0.9, class_decay=decay)
    mean = np.full(CLASSES, 1 / CLASSES)
    for step in range(4):
        pseudo, valid = random_case(seed + step)
        rare = pseudo.labels == step  # each class is missing once
        pseudo = pseudo._replace(labels=pseudo.labels.where(~rare, (step + 1) % CLASSES))
        labels, confidence = pseudo.labels.numpy(), pseudo.confidence.double().numpy()
        weights = weighting(pseudo, valid, step)
        for number in range(CLASSES):
            if number != step:
                own = confidence[labels == number].mean()
                mean[number] = decay * mean[number] + (1 - decay) * own
        thresholds = 0.9 * mean / mean.max()
        expected = [
            label != IGNORE and sure > thresholds[label]
            for label, sure in zip(labels.flat, confidence.flat, strict=True)
        ]
        assert (weights.numpy().ravel() == np.array(expected)).mean() > 0.98  # but for rounding
        np.testing.assert_allclose(weighting.state["mean_confidence"], mean, rtol=1e-5)
        # No class has to be surer than with one threshold for all.
        assert (weights >= built("pixelwise", threshold=0.9)(pseudo, valid, 0)).all()


def test_a_class_that_is_never_predicted_does_not_hold_the_others_to_the_threshold() -> None:
    weighting = ClassAdaptive(3, torch.device("cpu"), threshold=0.9, class_decay=0.5)
    labels = torch.tensor([[[0, 0, 1, 1]]])
    pseudo = PseudoLabels(labels, torch.tensor([[[0.99, 0.95, 0.6, 0.5]]]))
    valid = torch.ones(1, 1, 4, dtype=torch.bool)
    for _ in range(20):
        weights = weighting(pseudo, valid, 0)
    assert weights.tolist() == [[[1.0, 1.0, 1.0, 0.0]]]
