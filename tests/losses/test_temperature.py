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
    for temperature in (0.25, 0.5, 1.0, 2.0, 7.0):
        powers = np.exp(LOGITS[0].numpy() / temperature)
        np.testing.assert_allclose(softmax(temperature).numpy(), powers / powers.sum(), rtol=1e-12)


def test_towards_zero_it_is_one_hot_and_towards_infinity_uniform() -> None:
    assert torch.allclose(softmax(1e-3), torch.tensor([1.0, 0, 0, 0], dtype=torch.float64))
    assert torch.allclose(softmax(1e6), torch.full((4,), 0.25, dtype=torch.float64), atol=1e-5)


def test_lower_is_sharper() -> None:
    entropies = [
        float(-(softmax(temperature) * softmax(temperature).log()).sum())
        for temperature in (0.3, 0.5, 1.0, 2.0, 4.0)
    ]
    assert entropies == sorted(entropies)
    assert len(set(entropies)) == 5


def test_fewer_bits_are_divided_in_float32() -> None:
    logits = torch.tensor([[40000.0, 10.0, -3.0]]).half()
    found = tempered(functional.softmax, 0.5)(logits, dim=1)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


def test_one_is_the_function_itself() -> None:
    assert tempered(functional.softmax, 1.0) is functional.softmax


def test_the_example_of_figure_2_13() -> None:
    """Six classes; cross-entropies 0.693, 0.405 and 0.903 at T = 1, 0.5 and 2.

    The text gives no logits. Three numbers do not determine six of them, but there are some that
    give all three, and every choice that does has the winner's probability 1/2, 2/3 and 0.405.
    """
    temperatures, wanted = (1.0, 0.5, 2.0), np.array([0.693, 0.405, 0.903])

    def errors(others: np.ndarray) -> np.ndarray:
        logits = np.concatenate([others[:1], [0.0], others[1:]])
        return (
            np.array(
                [
                    np.log(np.exp((logits - logits[1]) / temperature).sum())
                    for temperature in temperatures
                ]
            )
            - wanted
        )

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
