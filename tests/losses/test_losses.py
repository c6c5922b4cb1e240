from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mixseg.config.sections import TargetSettings
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.losses import CONSISTENCIES, build_consistency, segmentation_cross_entropy

CLASSES = 4
every_consistency = pytest.mark.parametrize("name", sorted(CONSISTENCIES))


def random_case(seed: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, labels with ignored pixels, distributions, weights."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, CLASSES, 3, 5, generator=random)
    labels = torch.randint(CLASSES, (batch, 3, 5), generator=random)
    labels = labels.masked_fill(torch.rand(labels.shape, generator=random) < 0.3, IGNORE)
    soft = torch.randn(batch, CLASSES, 3, 5, generator=random).softmax(1)
    return logits, labels, soft, torch.rand(batch, 3, 5, generator=random)


def softmax(logits: NDArray) -> NDArray:
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()


def pixel_loss(name: str, logits: NDArray, target: NDArray) -> float:
    """Loss of one pixel against a distribution over classes."""
    probabilities = softmax(logits)
    if name == "cross-entropy":
        return float(-(target * np.log(probabilities)).sum())
    return float(((probabilities - target) ** 2).sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_segmentation_cross_entropy_is_the_mean_over_labelled_pixels(seed: int) -> None:
    logits, labels, _, _ = random_case(seed)
    terms = [
        -np.log(softmax(logits[b, :, y, x].numpy())[label])
        for (b, y, x), label in np.ndenumerate(labels.numpy())
        if label != IGNORE
    ]
    assert float(segmentation_cross_entropy(logits, labels)) == pytest.approx(
        np.mean(terms), rel=1e-5
    )


def test_segmentation_cross_entropy_does_not_see_ignored_pixels() -> None:
    logits, labels, _, _ = random_case(0)
    logits.requires_grad_()
    segmentation_cross_entropy(logits, labels).backward()
    assert logits.grad is not None
    magnitude = logits.grad.abs().sum(dim=1)
    assert (magnitude[labels == IGNORE] == 0).all()
    assert (magnitude[labels != IGNORE] > 0).all()


def test_a_batch_without_labels_gives_zero_with_zero_gradient() -> None:
    logits = torch.randn(2, CLASSES, 3, 3, requires_grad=True)
    loss = segmentation_cross_entropy(logits, torch.full((2, 3, 3), IGNORE))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_float32_whatever_the_logits(dtype: torch.dtype) -> None:
    logits, labels, _, weights = random_case(0)
    assert segmentation_cross_entropy(logits.to(dtype), labels).dtype == torch.float32
    for consistency in CONSISTENCIES.values():
        assert consistency(logits.to(dtype), labels, weights).dtype == torch.float32


@pytest.mark.parametrize("name", ["cross-entropy", "squared-error"])
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_consistency_agrees_with_a_loop_over_pixels(name: str, seed: int) -> None:
    logits, labels, soft, weights = random_case(seed)
    hard_terms, soft_terms = [], []
    for (b, y, x), label in np.ndenumerate(labels.numpy()):
        weight, values = float(weights[b, y, x]), logits[b, :, y, x].numpy()
        # Ignored pixels have no loss, but are counted by the mean.
        one_hot = np.eye(CLASSES)[label % CLASSES]
        hard_terms.append(0 if label == IGNORE else weight * pixel_loss(name, values, one_hot))
        soft_terms.append(weight * pixel_loss(name, values, soft[b, :, y, x].numpy()))
    loss = CONSISTENCIES[name]
    assert float(loss(logits, labels, weights)) == pytest.approx(np.mean(hard_terms), rel=1e-5)
    assert float(loss(logits, soft, weights)) == pytest.approx(np.mean(soft_terms), rel=1e-5)


@every_consistency
class TestEveryConsistency:
    def test_labels_are_one_hot_distributions(self, name: str) -> None:
        logits, labels, _, weights = random_case(1)
        labels = labels.where(labels != IGNORE, 0)
        one_hot = functional.one_hot(labels, CLASSES).permute(0, 3, 1, 2).float()
        loss = CONSISTENCIES[name]
        torch.testing.assert_close(loss(logits, labels, weights), loss(logits, one_hot, weights))

    @pytest.mark.parametrize("kind", ["hard", "soft"])
    def test_gradient(self, name: str, kind: str) -> None:
        logits, labels, soft, weights = random_case(2, batch=1)
        # The loss works in float32: a central difference with a step to match.
        direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        target = labels if kind == "hard" else soft
        logits.requires_grad_()
        (gradient,) = torch.autograd.grad(CONSISTENCIES[name](logits, target, weights), logits)
        with torch.no_grad():
            step = 1e-2
            ahead = CONSISTENCIES[name](logits + step * direction, target, weights)
            behind = CONSISTENCIES[name](logits - step * direction, target, weights)
        slope = float((ahead - behind) / (2 * step))
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=5e-3, abs=1e-4)

    def test_no_gradient_where_ignored_or_without_weight(self, name: str) -> None:
        logits, labels, _, weights = random_case(3)
        weights[:, 0] = 0
        logits.requires_grad_()
        CONSISTENCIES[name](logits, labels, weights).backward()
        assert logits.grad is not None
        counts = (labels != IGNORE) & (weights > 0)
        magnitude = logits.grad.abs().sum(dim=1)
        assert (magnitude[~counts] == 0).all()
        assert (magnitude[counts] > 0).all()

    def test_everything_ignored_is_zero_with_zero_gradient(self, name: str) -> None:
        logits = torch.randn(1, CLASSES, 3, 3, requires_grad=True)
        labels, weights = torch.full((1, 3, 3), IGNORE), torch.ones(1, 3, 3)
        loss = CONSISTENCIES[name](logits, labels, weights)
        loss.backward()
        assert float(loss.detach()) == 0
        assert logits.grad is not None
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    def test_proportional_to_the_weights(self, name: str) -> None:
        logits, labels, _, weights = random_case(4)
        loss = CONSISTENCIES[name]
        torch.testing.assert_close(
            loss(logits, labels, 0.25 * weights), 0.25 * loss(logits, labels, weights)
        )

    def test_a_gradient_step_brings_student_and_target_together(self, name: str) -> None:
        logits, _, soft, weights = random_case(5)
        logits.requires_grad_()
        loss = CONSISTENCIES[name](logits, soft, weights)
        (gradient,) = torch.autograd.grad(loss, logits)
        after = CONSISTENCIES[name](logits.detach() - gradient, soft, weights)
        assert float(after) < float(loss.detach())

    def test_is_found_by_its_name(self, name: str) -> None:
        assert build_consistency(TargetSettings(consistency=name)) is CONSISTENCIES[name]


def test_unknown_consistency_names_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"unknown consistency loss.*'squared-error'"):
        build_consistency(TargetSettings(consistency="squared_error"))
