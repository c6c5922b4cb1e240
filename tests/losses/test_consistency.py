"""Consistency losses against a loop over pixels, and what each of them promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mixseg.ignore import IGNORE, one_hot
from mixseg.registry import CONSISTENCIES

CLASSES = 4
LOSSES = {name: CONSISTENCIES.build(name, {}) for name in CONSISTENCIES}
every_consistency = pytest.mark.parametrize("name", LOSSES)


def random_case(seed: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, labels with ignored pixels, distributions, weights."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, CLASSES, 3, 5, generator=random)
    labels = torch.randint(CLASSES, (batch, 3, 5), generator=random)
    labels = labels.masked_fill(torch.rand(labels.shape, generator=random) < 0.3, IGNORE)
    soft = torch.randn(batch, CLASSES, 3, 5, generator=random).softmax(1)
    return logits, labels, soft, torch.rand(batch, 3, 5, generator=random)


def pixel_loss(name: str, logits: NDArray, target: NDArray) -> float:
    powers = np.exp(logits.astype(np.float64))
    given = powers / powers.sum()
    if name == "cross-entropy":
        return float(-(target * np.log(given)).sum())
    return float(((given - target) ** 2).sum())


@pytest.mark.parametrize("name", ["cross-entropy", "squared-error"])
@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_agrees_with_a_loop_over_pixels(name: str, seed: int) -> None:
    logits, labels, soft, weights = random_case(seed)
    hard_terms, soft_terms = [], []
    for (b, y, x), label in np.ndenumerate(labels.numpy()):
        weight, values = float(weights[b, y, x]), logits[b, :, y, x].numpy()
        # Ignored pixels have no loss, but are counted by the mean.
        hard = np.eye(CLASSES)[label % CLASSES]
        hard_terms.append(0 if label == IGNORE else weight * pixel_loss(name, values, hard))
        soft_terms.append(weight * pixel_loss(name, values, soft[b, :, y, x].numpy()))
    loss = LOSSES[name]
    assert float(loss(logits, labels, weights)) == pytest.approx(np.mean(hard_terms), rel=1e-5)
    assert float(loss(logits, soft, weights)) == pytest.approx(np.mean(soft_terms), rel=1e-5)


@every_consistency
def test_labels_are_one_hot_distributions_and_weights_are_factors(name: str) -> None:
    logits, labels, _, weights = random_case(1)
    loss = LOSSES[name]
    labels = labels.where(labels != IGNORE, 0)
    found = loss(logits, labels, weights)
    torch.testing.assert_close(found, loss(logits, one_hot(labels, CLASSES), weights))
    torch.testing.assert_close(loss(logits, labels, 0.25 * weights), 0.25 * found)
    assert loss(logits.half(), labels, weights).dtype == torch.float32


@every_consistency
@pytest.mark.parametrize("everything", [False, True])
def test_no_gradient_where_ignored_or_without_weight(name: str, everything: bool) -> None:
    logits, labels, _, weights = random_case(3)
    labels = torch.full_like(labels, IGNORE) if everything else labels
    weights[:, 0] = 0
    logits.requires_grad_()
    loss = LOSSES[name](logits, labels, weights)
    loss.backward()
    assert everything == (float(loss.detach()) == 0)
    assert logits.grad is not None
    counts = (labels != IGNORE) & (weights > 0)
    assert torch.equal(logits.grad.abs().sum(dim=1) > 0, counts)
