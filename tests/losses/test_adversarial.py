"""Table 3-1 of Kim against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mixseg.losses import ADVERSARIAL_LOSSES, located_mean

FORMULAS: dict[str, dict[str, Callable[[NDArray], NDArray]]] = {
    "lsgan": {
        "real": lambda d: (d - 1) ** 2 / 2,
        "fake": lambda d: d**2 / 2,
        "fool": lambda d: (d - 1) ** 2 / 2,
    },
    "dcgan": {
        "real": lambda d: -np.log(d),
        "fake": lambda d: -np.log(1 - d),
        "fool": lambda d: -np.log(d),
    },
}


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
@pytest.mark.parametrize("role", ["real", "fake", "fool"])
def test_each_loss(name: str, role: str) -> None:
    random = np.random.default_rng(3)
    judged = random.uniform(0.01, 0.99, (2, 7, 5))
    counted = random.uniform(size=(2, 7, 5)) < 0.6
    expected = FORMULAS[name][role](judged)[counted].mean()
    loss = getattr(ADVERSARIAL_LOSSES[name], role)
    judged[~counted] = np.nan  # what does not count may be anything
    found = located_mean(loss(torch.from_numpy(judged)), torch.from_numpy(counted))
    assert float(found) == pytest.approx(expected, rel=1e-12)
    certain = torch.tensor([0.0, 1.0], requires_grad=True)
    value = loss(certain).sum()
    value.backward()
    assert torch.isfinite(value)
    assert certain.grad is not None and torch.isfinite(certain.grad).all()


def test_nothing_counted_is_zero_with_a_zero_gradient() -> None:
    judged = torch.rand(1, 3, 3, requires_grad=True)
    loss = located_mean(judged.square(), torch.zeros(1, 3, 3, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert judged.grad is not None and not judged.grad.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", sorted(ADVERSARIAL_LOSSES))
def test_autocast_on_a_gpu_takes_them(name: str) -> None:
    with torch.autocast("cuda", torch.bfloat16):
        judged = torch.rand(8, device="cuda", requires_grad=True)
        loss = ADVERSARIAL_LOSSES[name]
        (loss.real(judged) + loss.fake(judged) + loss.fool(judged)).sum().backward()
    assert judged.grad is not None and torch.isfinite(judged.grad).all()
