"""mixup: equation 1 of Lourenço."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixseg.mixing import mixup, mixup_shares


def test_equation_1() -> None:
    random = torch.Generator().manual_seed(0)
    own = torch.rand(3, 4, 5, 6, generator=random)
    share = torch.rand(3, 1, 1, 1, generator=random)
    found = mixup(share, own)
    for index in range(3):
        weight = float(share[index])
        expected = weight * own[index] + (1 - weight) * own[(index + 1) % 3]
        torch.testing.assert_close(found[index], expected)


def test_an_image_alone_stays_as_it_is() -> None:
    own = torch.rand(1, 3, 4, 4)
    assert torch.equal(mixup(torch.full((1, 1, 1, 1), 0.3), own), own)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 5.0])
def test_shares_have_the_moments_of_the_beta_distribution(alpha: float) -> None:
    shares = mixup_shares(20_000, alpha, torch.Generator().manual_seed(0)).flatten().numpy()
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    # Var Beta(a, a) = 1 / (4 (2 a + 1))
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_the_generator_alone_decides() -> None:
    torch.manual_seed(1)
    first = mixup_shares(4, 0.1, torch.Generator().manual_seed(7))
    torch.manual_seed(2)
    assert torch.equal(first, mixup_shares(4, 0.1, torch.Generator().manual_seed(7)))
    assert not torch.equal(first, mixup_shares(4, 0.1, torch.Generator().manual_seed(8)))
