from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from mixseg.errors import ConfigError
from mixseg.registry import SCHEDULES
from mixseg.training.schedules import Schedule, build_schedule


def built(name: str, total: int, warmup: int = 0, **options: object) -> Schedule:
    paths = {f"schedule.{option}": value for option, value in options.items()}
    return build_schedule(name, paths, total, warmup)[0]


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_factors_are_a_pure_function_into_the_unit_interval(name: str) -> None:
    for total, warmup in ((1, 0), (2, 0), (7, 5), (100, 0), (1001, 5)):
        # one-cycle has a warm-up of its own, and refuses another
        schedule = built(name, total, 0 if name == "one-cycle" else warmup)
        factors = [schedule(step) for step in range(total)]
        assert all(0 <= factor <= 1 for factor in factors)
        assert max(factors) > 0, "something is learned"
        assert [schedule(step) for step in reversed(range(total))] == factors[::-1]


def test_the_shapes() -> None:
    schedule = built("poly", 40_000, power=0.9)  # equation 2.6
    assert schedule(0) == 1
    assert schedule(20_000) == pytest.approx(0.5**0.9)
    assert schedule(39_999) == pytest.approx((1 / 40_000) ** 0.9)
    schedule = built("cosine", 300)
    assert [schedule(step) for step in (0, 100, 150, 200)] == pytest.approx([1, 0.75, 0.5, 0.25])
    schedule = built("cosine", 300, 100)
    assert [schedule(step) for step in (100, 200)] == pytest.approx([1, 0.5])
    schedule = built("constant", 100, 4)
    factors = [schedule(step) for step in (0, 1, 2, 3, 4, 99)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_one_cycle_is_that_of_torch() -> None:
    # torch counts its phases to the last step, not past it: a shift of one step at most.
    total = 2000
    schedule = built("one-cycle", total)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = OneCycleLR(optimizer, max_lr=1.0, total_steps=total)
    for step in range(total):
        assert schedule(step) == pytest.approx(reference.get_last_lr()[0], abs=2 * math.pi / total)
        if step < total - 1:
            optimizer.step()
            reference.step()
    assert schedule(0) == pytest.approx(1 / 25)
    assert max(range(total), key=schedule) == 600
    assert schedule(total - 1) < 1e-4


def test_refused() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.name.*'cosine'"):
        built("cosin", 10)
    with pytest.raises(ConfigError, match=r"schedule\.warmup_steps"):
        built("one-cycle", 10, 2)
    with pytest.raises(ConfigError, match=r"schedule\.momentum"):
        built("one-cycle", 10, momentum=(0.9, 0.8))


def test_momentum_falls_while_the_rate_rises_as_in_torch() -> None:
    total = 200
    rate, momentum = build_schedule("one-cycle", {"schedule.momentum": (0.85, 0.95)}, total)
    assert momentum is not None
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1, momentum=0.9)
    reference = OneCycleLR(
        optimizer, 1, total_steps=total + 1, base_momentum=0.85, max_momentum=0.95, pct_start=0.3
    )
    for step in range(total):
        expected = optimizer.param_groups[0]["momentum"]
        assert momentum(step) == pytest.approx(expected, abs=2e-3)
        optimizer.step()
        reference.step()
    lowest = min(range(total), key=momentum)
    assert lowest == max(range(total), key=rate)
    assert build_schedule("one-cycle", {}, total)[1] is None, "it stays unless asked for"
