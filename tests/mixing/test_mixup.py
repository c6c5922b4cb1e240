"""mixup: equation 1 of Lourenço."""

from __future__ import annotations

import pytest
import torch

from mixseg.mixing import Mixup


def test_equation_1() -> None:
    random = torch.Generator().manual_seed(0)
    own = torch.rand(3, 4, 5, 6, generator=random)
    share = torch.rand(3, 1, 1, 1, generator=random)
    expected = share * own + (1 - share) * own[[1, 2, 0]]
    torch.testing.assert_close(Mixup().mix(share, own), expected)
    assert torch.equal(Mixup().mix(share[:1], own[:1]), own[:1]), "alone it stays as it is"


@pytest.mark.parametrize("alpha", [0.1, 5.0])
def test_shares_have_the_moments_of_the_beta_distribution(alpha: float) -> None:
    shares = Mixup(alpha).shares(20_000, torch.Generator().manual_seed(0))
    assert 0 <= float(shares.min()) <= float(shares.max()) <= 1
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.02)
    # Var Beta(a, a) = 1 / (4 (2 a + 1))
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_the_generator_alone_decides() -> None:
    torch.manual_seed(1)
    first = Mixup().shares(4, torch.Generator().manual_seed(7))
    torch.manual_seed(2)
    assert torch.equal(first, Mixup().shares(4, torch.Generator().manual_seed(7)))
    assert not torch.equal(first, Mixup().shares(4, torch.Generator().manual_seed(8)))
