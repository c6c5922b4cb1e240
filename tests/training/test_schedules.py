from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from mixseg.config.sections import ScheduleSettings
from mixseg.errors import ConfigError
from mixseg.training.schedules import SCHEDULES, build_schedule, momentum_cycle


@pytest.mark.parametrize("name", sorted(SCHEDULES))
class TestEverySchedule:
    @pytest.mark.parametrize(
        ("total", "warmup"), [(1, 0), (2, 0), (3, 2), (7, 0), (7, 5), (100, 0), (1001, 5)]
    )
    def test_factors_lie_in_the_unit_interval(self, name: str, total: int, warmup: int) -> None:
        warmup = 0 if name == "one-cycle" else warmup  # it has its own, and refuses another
        schedule = build_schedule(ScheduleSettings(name=name, warmup_steps=warmup), total)
        factors = [schedule(step) for step in range(total)]
        assert all(0 <= factor <= 1 for factor in factors)
        assert max(factors) > 0, "something is learned"

    def test_is_a_pure_function_of_the_step(self, name: str) -> None:
        schedule = build_schedule(ScheduleSettings(name=name), 50)
        forwards = [schedule(step) for step in range(50)]
        backwards = [schedule(step) for step in reversed(range(50))]
        assert forwards == backwards[::-1]
        again = build_schedule(ScheduleSettings(name=name), 50)
        assert [again(step) for step in range(50)] == forwards


def test_poly_is_equation_2_6() -> None:
    schedule = build_schedule(ScheduleSettings(name="poly", power=0.9), 40_000)
    assert schedule(0) == 1
    assert schedule(20_000) == pytest.approx(0.5**0.9)
    assert schedule(39_999) == pytest.approx((1 / 40_000) ** 0.9)


def test_cosine() -> None:
    schedule = build_schedule(ScheduleSettings(name="cosine"), 300)
    assert [schedule(step) for step in (0, 100, 150, 200)] == pytest.approx([1, 0.75, 0.5, 0.25])


def test_cosine_falls_after_the_warm_up_only() -> None:
    schedule = build_schedule(ScheduleSettings(name="cosine", warmup_steps=100), 300)
    assert schedule(100) == pytest.approx(1)
    assert schedule(200) == pytest.approx(0.5)


def test_warm_up_is_linear() -> None:
    schedule = build_schedule(ScheduleSettings(name="constant", warmup_steps=4), 100)
    steps = [schedule(step + 1) - schedule(step) for step in range(4)]
    assert steps == pytest.approx([steps[0]] * 4)
    assert 0 < schedule(0) < schedule(3) < 1
    assert schedule(4) == schedule(99) == 1


def test_one_cycle_is_that_of_torch() -> None:
    # torch counts its phases to the last step, not past it: a shift of one step at most.
    total = 2000
    schedule = build_schedule(ScheduleSettings(name="one-cycle"), total)
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


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.name.*'cosine'"):
        build_schedule(ScheduleSettings(name="cosin"), 10)
    with pytest.raises(ConfigError, match="warmup_steps does nothing"):
        build_schedule(ScheduleSettings(name="one-cycle", warmup_steps=2), 10)
    with pytest.raises(ConfigError, match="warmup_epochs does nothing"):
        build_schedule(ScheduleSettings(name="one-cycle", warmup_epochs=2), 10)


def test_momentum_falls_while_the_rate_rises_as_in_torch() -> None:
    settings = ScheduleSettings(name="one-cycle", momentum=(0.85, 0.95))
    total = 200
    momentum = momentum_cycle(settings, total)
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
    rate = build_schedule(settings, total)
    lowest = min(range(total), key=momentum)
    assert lowest == max(range(total), key=rate)


def test_momentum_stays_unless_asked_for() -> None:
    assert momentum_cycle(ScheduleSettings(name="one-cycle"), 10) is None
