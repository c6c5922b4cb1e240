"""The distillation loss against numpy, and what its papers promise of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mixseg.losses import distillation_divergence, pairwise_difference


def maps(seed: int, *shape: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def softened(logits: Tensor, temperature: float) -> np.ndarray:
    powers = np.exp(logits.double().numpy() / temperature)
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result


@given(seed=st.integers(0, 1000), temperature=st.floats(0.5, 30), size=st.integers(1, 4))
def test_divergence_is_that_of_numpy(seed: int, temperature: float, size: int) -> None:
    student, teacher = maps(seed, 2, 4, size, 3), maps(seed + 1, 2, 4, size, 3)
    own, reference = softened(student, temperature), softened(teacher, temperature)
    expected = temperature**2 * (reference * np.log(reference / own)).sum(axis=1)
    found = distillation_divergence(student, teacher, temperature)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4)


def test_no_gradient_goes_to_the_teacher() -> None:
    student, teacher = maps(0, 1, 3, 2, 2), maps(1, 1, 3, 2, 2).requires_grad_()
    assert not distillation_divergence(student, teacher, 2.0).requires_grad
    features = maps(2, 1, 3, 4, 4).requires_grad_()
    assert not pairwise_difference(maps(3, 1, 3, 4, 4), features).requires_grad


def test_pairwise_difference_is_the_mean_over_all_pairs_of_places() -> None:
    student, teacher = maps(0, 2, 3, 2, 3), maps(1, 2, 7, 2, 3)

    def cosine(features: np.ndarray, one: int, other: int) -> float:
        flat = features.reshape(len(features), -1)
        a, b = flat[:, one], flat[:, other]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    squares = [
        (cosine(student[b].numpy(), i, j) - cosine(teacher[b].numpy(), i, j)) ** 2
        for b in range(2)
        for i in range(6)
        for j in range(6)
    ]
    found = float(pairwise_difference(student, teacher))
    assert found == pytest.approx(np.mean(squares), rel=1e-4)


def test_pairwise_difference_sees_directions_alone_at_any_size() -> None:
    features = maps(0, 1, 4, 8, 12)
    assert float(pairwise_difference(features, 5 * features)) == pytest.approx(0, abs=1e-10)
    # Rotated channels have the same similarities.
    turned, _ = torch.linalg.qr(maps(1, 4, 4))
    rotated = torch.einsum("ij,bjhw->bihw", turned, features)
    assert float(pairwise_difference(features, rotated)) == pytest.approx(0, abs=1e-10)
    # Another stride is averaged to the coarser grid.
    fine = features.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert float(pairwise_difference(fine, features)) == pytest.approx(0, abs=1e-10)
    assert float(pairwise_difference(features, maps(2, 1, 4, 8, 12))) > 0.01
