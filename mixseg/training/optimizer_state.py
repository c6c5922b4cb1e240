"""Optimizer state as JSON and named tensors, so that it needs no pickle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mixseg.errors import CheckpointError


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
