from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mixseg.losses.loss_sum import parse_loss_sum, weighted_sum

from mixseg.errors import ConfigError

NAMES = ("cross-entropy", "dice", "focal")


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("dice", {"dice": 1}),
        ("cross-entropy + 0.5*dice", {"cross-entropy": 1, "dice": 0.5}),
        ("cross-entropy+0.5*dice", {"cross-entropy": 1, "dice": 0.5}),
        ("  2 * dice\t+ .5 *focal ", {"dice": 2, "focal": 0.5}),
        ("1e+2*dice + 1.E+1*focal+1e-3*cross-entropy", {"dice": 100, "focal": 10, NAMES[0]: 1e-3}),
    ],
)
def test_sums(text: str, factors: dict[str, float]) -> None:
    found = parse_loss_sum(text, NAMES)
    assert found == factors
    assert list(found) == list(factors)


@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.floats(0, exclude_min=True, allow_infinity=False), min_size=1
    ),
    st.sampled_from(["+", " + ", "\n+"]),
    st.sampled_from(["*", " *  "]),
)
def test_every_sum_that_is_written_is_read(
    factors: dict[str, float], plus: str, times: str
) -> None:
    text = plus.join(f"{factor!r}{times}{name}" for name, factor in factors.items())
    assert parse_loss_sum(text, NAMES) == factors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name is missing"),
        (" ", "name is missing"),
        ("dice +", "name is missing"),
        ("+ dice", "name is missing"),
        ("dice ++ focal", "name is missing"),
        ("2*", "name is missing"),
        ("dise", "unknown loss 'dise'.*mean 'dice'.*Choices: cross-entropy, dice, focal"),
        ("2", "unknown loss '2'"),
        ("0.5 dice", "unknown loss '0.5 dice'"),
        ("dice*0.5", r"unknown loss '0\.5'"),
        ("Dice", "unknown loss 'Dice'"),
        ("dice - focal", "unknown loss 'dice - focal'"),
        ("0*dice", "above 0, found '0'"),
        ("-1*dice", "above 0, found '-1'"),
        ("nan*dice", "finite.*found 'nan'"),
        ("1e999*dice", "finite.*found '1e999'"),
        ("a*dice", "number.*found 'a'"),
        ("*dice", "number.*found ''"),
        ("2*3*dice", r"number.*found '2\*3'"),
        ("dice + 2*dice", "dice is there twice"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"supervised_loss\.name.*{message}"):
        parse_loss_sum(text, NAMES)


def test_value_and_gradient_are_the_sum() -> None:
    logits = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.ones(1, 3, 3)
    loss = weighted_sum(
        [(0.5, lambda x, y: x.square().sum()), (3, lambda x, y: (x[:, 0] * y).sum())]
    )
    value = loss(logits, targets)
    torch.testing.assert_close(value, 0.5 * logits.square().sum() + 3 * logits[:, 0].sum())
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, logits + 3 * torch.tensor([1.0, 0.0])[:, None, None])
