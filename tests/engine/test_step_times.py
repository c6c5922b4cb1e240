from __future__ import annotations

import pytest
import torch
from torch import nn

from mixseg.engine.step_times import step_times
from mixseg.models import build_model
from tests.models.build import SMALL, small_model


def enet() -> nn.Module:
    """Has dropout, which draws."""
    changes = {"architecture": "enet", "backbone": "none", "output_stride": 8}
    return build_model(SMALL.__class__(**SMALL.to_json() | changes))


@pytest.mark.parametrize("make", [small_model, enet])
def test_nothing_moves(make: object) -> None:
    model = make().eval()  # type: ignore[operator]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    found = step_times(model, (2, 3, 32, 64), ("fp32", "bf16"))
    assert set(found) == {"fp32", "bf16"}
    assert all(seconds > 0 for seconds in found.values())
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


def test_the_slower_one_takes_longer() -> None:
    found = step_times(Slow(), (1, 3, 64, 64), ("fp32", "bf16"))
    assert found["bf16"] > found["fp32"]
