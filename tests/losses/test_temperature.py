from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
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


def test_the_example_of_figure_2_13() -> None:
    """Six classes; cross-entropies 0.693, 0.405 and 0.903 at T = 1, 0.5 and 2.

    The text gives no logits. Three numbers do not determine six of them, but there are some that
    give all three, and every choice that does has the winner's probability 1/2, 2/3 and 0.405.
    """
    temperatures, wanted = (1.0, 0.5, 2.0), np.array([0.693, 0.405, 0.903])

    def errors(others: np.ndarray) -> np.ndarray:
        logits = np.concatenate([others[:1], [0.0], others[1:]])
        powers = [np.exp((logits - logits[1]) / one).sum() for one in temperatures]
        result: np.ndarray = np.log(powers) - wanted
        return result

    found = [
        least_squares(errors, np.array(start), bounds=(-60, 0)).x
        for start in ([-0.5, -1.5, -5, -8, -9], [-0.4, -1.2, -6, -7, -20])
    ]
    for others in found:
        logits = torch.tensor([[others[0], 0.0, *others[1:]]])
        assert int(logits.argmax()) == 1  # the figure's class 2
        losses = [
            float(tempered(functional.cross_entropy, temperature)(logits, torch.tensor([1])))
            for temperature in temperatures
        ]
        assert losses == pytest.approx(list(wanted), abs=5e-4)
    assert not np.allclose(found[0], found[1], atol=0.1)  # not determined
