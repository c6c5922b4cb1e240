"""Optimizers over the parameter groups of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch.optim import Optimizer

from mixseg.config.values import Range
from mixseg.registry import OPTIMIZERS

Groups = list[dict[str, Any]]
"""Parameter groups that carry their own learning rate and weight decay."""


@OPTIMIZERS.register("sgd")
def sgd(
    groups: Groups, lr: float, momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
) -> Optimizer:
    """Stochastic gradient descent.

    Args:
        groups: See :data:`Groups`.
        lr: Of the backbone.
        momentum: Share of the last update that is added to the next.
    """
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, foreach=True)


@OPTIMIZERS.register("adamw")
def adamw(
    groups: Groups, lr: float, momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
) -> Optimizer:
    """Adam with decoupled weight decay; beta_2 is 0.999.

    Args:
        groups: See :data:`Groups`.
        lr: Of the backbone.
        momentum: beta_1.
    """
    return torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), foreach=True)


def build_optimizer(name: str, groups: Groups, lr: float, options: Mapping[str, Any]) -> Optimizer:
    """The optimizer of a name; each group remembers its highest rate as ``peak_lr``.

    Raises:
        ConfigError: There is none of that name.
    """
    optimizer = OPTIMIZERS.build(name, options, groups=groups, lr=lr)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer
