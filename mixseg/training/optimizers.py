"""Optimizers over the parameter groups of a network, and their state without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mixseg.config.values import Range
from mixseg.errors import CheckpointError
from mixseg.registry import OPTIMIZERS

Groups = list[dict[str, Any]]
"""Parameter groups that carry their own learning rate and weight decay."""


@OPTIMIZERS.register("sgd")
def sgd(
    groups: Groups, lr: float, momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
) -> Optimizer:
    """Stochastic gradient descent.

    Args:
        momentum: Share of the last update that is added to the next.
    """
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, foreach=True)


@OPTIMIZERS.register("adamw")
def adamw(
    groups: Groups, lr: float, momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
) -> Optimizer:
    """Adam with decoupled weight decay; beta_2 is 0.999.

    Args:
        momentum: beta_1.
    """
    return torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), foreach=True)


def build_optimizer(name: str, groups: Groups, lr: float, options: Mapping[str, Any]) -> Optimizer:
    """The optimizer of a name; each group remembers its highest rate as ``peak_lr``."""
    optimizer = OPTIMIZERS.build(name, options, groups=groups, lr=lr)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Split ``state_dict()`` into plain values and tensors named ``PARAMETER.NAME``."""
    content = optimizer.state_dict()
    values: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for parameter, state in content["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{parameter}.{name}"] = value
            else:
                values.setdefault(str(parameter), {})[name] = value
    groups = [dict(group) for group in content["param_groups"]]
    return {"groups": groups, "values": values}, tensors


def restore_optimizer(
    optimizer: Optimizer, saved: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    """Inverse of :func:`optimizer_state`; the optimizer has the same groups.

    Rates, decay and momentum stay those that the optimizer was built with: they are settings, and
    a run may be resumed with other ones.

    Raises:
        CheckpointError: The groups do not fit.
    """
    state = {int(parameter): dict(values) for parameter, values in saved["values"].items()}
    for key, tensor in tensors.items():
        parameter, name = key.split(".", 1)
        state.setdefault(int(parameter), {})[name] = tensor
    groups = optimizer.param_groups
    own = [{name: group[name] for name in group if name != "params"} for group in groups]
    try:
        optimizer.load_state_dict({"state": state, "param_groups": saved["groups"]})
    except ValueError as error:
        raise CheckpointError(f"the optimizer of the checkpoint does not fit: {error}") from error
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)
        for weight in group["params"]:
            moments = optimizer.state.get(weight, {})
            for name, value in moments.items():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    # Files know one layout; weights and moments are gone through together.
                    moments[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
