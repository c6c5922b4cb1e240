from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from mixseg.losses.temperature import tempered

LOGITS = torch.tensor([[2.0, -1.0, 1.5, 0.25]], dtype=torch.float64)


def softmax(temperature: float) -> torch.Tensor:
    return tempered(functional.softmax, temperature)(LOGITS, dim=1)[0]


def test_against_the_formula() -> None:
    assert tempered(functional.softmax, 1.0) is functional.softmax
    for temperature in (0.01, 0.5, 1.0, 2.0, 1e6):
        powers = np.exp(LOGITS[0].numpy() / temperature)
        np.testing.assert_allclose(softmax(temperature).numpy(), powers / powers.sum(), rtol=1e-12)


def test_fewer_bits_are_divided_in_float32() -> None:
    logits = torch.tensor([[40000.0, 10.0, -3.0]]).half()
    found = tempered(functional.softmax, 0.5)(logits, dim=1)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
