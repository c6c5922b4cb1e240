"""Optimizers over the model's parameter groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from mixseg.config import OptimizerSettings
from mixseg.errors import ConfigError, unknown_name

Groups = list[dict[str, Any]]

OPTIMIZERS: dict[str, Callable[[Groups, OptimizerSettings], Optimizer]] = {
    "sgd": lambda groups, settings: torch.optim.SGD(
        groups, lr=settings.lr, momentum=settings.momentum, foreach=True
    ),
    "adamw": lambda groups, settings: torch.optim.AdamW(
        groups, lr=settings.lr, betas=(settings.momentum, 0.999), foreach=True
    ),
}
"""Name -> optimizer of parameter groups that carry their own rate and decay."""


def build_optimizer(groups: Groups, settings: OptimizerSettings) -> Optimizer:
    """The optimizer that the settings name; remembers each group's peak rate as ``peak_lr``."""
    check_optimizer_name(settings)
    optimizer = OPTIMIZERS[settings.name](groups, settings)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def check_optimizer_name(settings: OptimizerSettings) -> None:
    """Raise a ConfigError for an unknown optimizer."""
    if settings.name not in OPTIMIZERS:
        raise ConfigError(f"optimizer.name: {unknown_name('optimizer', settings.name, OPTIMIZERS)}")
