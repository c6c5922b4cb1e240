"""Optimizers: what they compute, and that a resumed one goes on bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim import Optimizer

from mixseg.errors import CheckpointError, ConfigError
from mixseg.registry import OPTIMIZERS
from mixseg.training.optimizers import build_optimizer, optimizer_state, restore_optimizer


def build(name: str, seed: int = 0) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    model[0].to(memory_format=torch.channels_last)
    groups = [
        {"params": list(model[:2].parameters()), "lr": 1e-2, "weight_decay": 1e-3},
        {"params": list(model[2:].parameters()), "lr": 1e-1, "weight_decay": 1e-3},
    ]
    return model, build_optimizer(name, groups, 1e-2, {})


def train(model: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * (1 - step / 10)
        images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("done", [0, 3])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_goes_on_bit_for_bit(name: str, done: int, tmp_path: Path) -> None:
    model, optimizer = build(name)
    for group, rate in zip(optimizer.param_groups, (1e-2, 1e-1), strict=True):
        assert (group["lr"], group["peak_lr"], group["weight_decay"]) == (rate, rate, 1e-3)
    train(model, optimizer, range(done))
    values, tensors = optimizer_state(optimizer)
    # Through the files of a checkpoint.
    text = json.dumps(values)
    dense = {key: value.contiguous() for key, value in tensors.items()}
    safetensors.torch.save_file(dense, tmp_path / "a.safetensors")
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    train(model, optimizer, range(done, 7))

    other, restored = build(name, seed=1)
    other.load_state_dict(weights)
    loaded = safetensors.torch.load_file(tmp_path / "a.safetensors")
    restore_optimizer(restored, json.loads(text), loaded)
    for weight in other.parameters():
        for value in restored.state[weight].values():
            if value.shape == weight.shape:
                assert value.stride() == weight.stride(), "in the layout of their weights"
    train(other, restored, range(done, 7))
    expected = model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in other.state_dict().items())
    single = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1.0)
    with pytest.raises(CheckpointError, match="optimizer"):
        restore_optimizer(single, values, tensors)


def test_sgd_is_that_of_the_thesis() -> None:
    # v = 0.9 v + (g + d w), w = w - lr v
    weight = nn.Parameter(torch.tensor([2.0]))
    groups = [{"params": [weight], "lr": 0.1, "weight_decay": 0.01}]
    optimizer = build_optimizer("sgd", groups, 0.1, {"optimizer.momentum": 0.9})
    value, velocity = 2.0, 0.0
    for gradient in (1.0, -0.5, 0.25):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 0.01 * value
        value -= 0.1 * velocity
    assert float(weight.detach()) == pytest.approx(value)
    with pytest.raises(ConfigError, match="'adamw'"):
        build_optimizer("adam", [], 0.1, {})
