"""Sums of losses by name, and how losses are built."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixseg.errors import ConfigError
from mixseg.losses import build_loss
from mixseg.losses.supervised import parse_loss_sum, weighted_sum

NAMES = ("cross-entropy", "dice", "focal")


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("cross-entropy+0.5*dice", {"cross-entropy": 1, "dice": 0.5}),
        ("  2 * dice\t+ .5 *focal ", {"dice": 2, "focal": 0.5}),
        ("1e+2*dice + 1.E+1*focal+1e-3*cross-entropy", {"dice": 100, "focal": 10, NAMES[0]: 1e-3}),
    ],
)
def test_sums(text: str, factors: dict[str, float]) -> None:
    assert list(parse_loss_sum(text, NAMES).items()) == list(factors.items())


@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.floats(0, exclude_min=True, allow_infinity=False), min_size=1
    ),
    st.sampled_from(["+", " + ", "\n+"]),
)
def test_every_sum_that_is_written_is_read(factors: dict[str, float], plus: str) -> None:
    text = plus.join(f"{factor!r}*{name}" for name, factor in factors.items())
    assert parse_loss_sum(text, NAMES) == factors


@pytest.mark.parametrize(
    ("found", "texts"),
    [
        ("name is missing", ["", " ", "dice +", "+ dice", "dice ++ focal", "2*"]),
        ("unknown loss", ["dise", "2", "0.5 dice", "dice*0.5", "Dice", "dice - focal"]),
        ("factor", ["0*dice", "-1*dice", "nan*dice", "1e999*dice", "a*dice", "*dice", "2*3*dice"]),
        ("twice", ["dice + 2*dice"]),
    ],
)
def test_refused(found: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ConfigError, match=rf"supervised_loss\.name.*{found}"):
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


def test_balanced_needs_shares() -> None:
    with pytest.raises(ConfigError, match=r"supervised_loss\.name"):
        build_loss("dice + balanced-cross-entropy", {}, None)
    with pytest.raises(ConfigError, match=r"supervised_loss\.name.*'dice'"):
        build_loss("cross-entropy + dise", {}, None)
