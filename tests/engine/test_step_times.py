from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from mixseg.engine import step_times as module
from mixseg.engine.step_times import FEWEST_ROUNDS, MOST_ROUNDS, clearly_faster, step_times
from mixseg.models import build_model
from tests.models.build import SMALL, small_model


def enet() -> nn.Module:
    """Has dropout, which draws."""
    changes = {"architecture": "enet", "backbone": "none", "output_stride": 8}
    return build_model(SMALL.__class__(**SMALL.to_json() | changes))


@pytest.mark.parametrize("make", [small_model, enet])
def test_nothing_moves(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET", 0.1)
    model = make().eval()  # type: ignore[operator]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    found = step_times(model, (2, 3, 32, 64), ("fp32", "bf16"))
    assert set(found) == {"fp32", "bf16"}
    for seconds in found.values():
        assert FEWEST_ROUNDS <= len(seconds) <= MOST_ROUNDS
        assert all(one > 0 for one in seconds)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    assert torch.equal(random, torch.get_rng_state())


class Slow(nn.Module):
    """Ten times the work where autocast is on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        total = self.layer(images)
        for _ in range(30 if torch.is_autocast_enabled("cpu") else 0):
            total = total + self.layer(images)
        return total


def test_the_slower_one_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET", 0.1)
    found = step_times(Slow(), (1, 3, 64, 64), ("fp32", "bf16"))
    assert min(found["bf16"]) > min(found["fp32"])


class Counting(nn.Module):
    """Notes the sizes that it sees, waits for a time that grows with them, refuses small ones."""

    def __init__(self, seconds_per_pixel: float = 0.0, smallest: int = 0) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)
        self.seconds_per_pixel, self.smallest = seconds_per_pixel, smallest
        self.seen: list[tuple[int, ...]] = []

    def __deepcopy__(self, memo: object) -> Counting:
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if min(images.shape[2:]) < self.smallest:
            raise AssertionError("input height doesn't match model")
        self.seen.append(tuple(images.shape[2:]))
        time.sleep(self.seconds_per_pixel * images.shape[2] * images.shape[3])
        logits: torch.Tensor = self.layer(images)
        return logits


def test_slow_steps_are_measured_on_smaller_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUDGET", 0.4)
    # A round of whole images takes 2 * 512 * 256 * 1e-6 = 0.26 seconds.
    slow = Counting(1e-6)
    found = step_times(slow, (1, 3, 512, 256), ("fp32", "bf16"))
    assert (512, 256) not in slow.seen
    assert len(slow.seen) < 60 and all(side % 32 == 0 for size in slow.seen for side in size)
    assert all(len(seconds) >= FEWEST_ROUNDS for seconds in found.values())


@pytest.mark.parametrize("network", [Counting(), Counting(smallest=500)])
def test_fast_steps_and_networks_of_one_size_are_measured_on_whole_ones(
    network: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET", 1e6)  # on any machine
    found = step_times(network, (1, 3, 500, 532), ("fp32", "bf16"))
    assert set(network.seen[-2 * len(found["fp32"]) :]) == {(500, 532)}


def test_what_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.0)
    found = step_times(Counting(), (1, 3, 64, 64), ("fp32", "bf16"))
    assert found == {"fp32": [], "bf16": []}
    assert clearly_faster(found) == "fp32"


FP32 = [1.00, 1.02, 0.98, 1.01, 1.03]


@pytest.mark.parametrize(
    ("fp32", "bf16", "expected"),
    [
        (FP32, [0.50, 0.51, 0.49, 0.52, 0.50], "bf16"),
        (FP32, [0.80, 0.81, 0.79, 0.82, 0.80], "bf16"),
        # A small gain, though outside the spread.
        (FP32, [0.92, 0.93, 0.91, 0.92, 0.92], "fp32"),
        (FP32, [1.50, 1.51, 1.49, 1.52, 1.50], "fp32"),
        (FP32, FP32, "fp32"),
        # A large gain within the spread: on a busy machine nothing is known.
        ([1.0, 2.0, 0.6, 1.8, 1.2], [0.5, 1.9, 0.7, 1.1, 0.8], "fp32"),
        # One timing that another process has lengthened changes nothing, in either.
        ([1.00, 1.02, 0.98, 9.00, 1.03], [0.50, 0.51, 7.00, 0.52, 0.50], "bf16"),
        ([1.00, 1.02, 0.98, 9.00, 1.03], [1.00, 1.01, 1.00, 0.99, 1.02], "fp32"),
        # Too few to know a spread.
        ([1.0, 1.0], [0.1, 0.1], "fp32"),
    ],
)
def test_only_a_clear_gain_counts(fp32: list[float], bf16: list[float], expected: str) -> None:
    assert clearly_faster({"fp32": fp32, "bf16": bf16}) == expected
