"""Activation checkpointing: less memory for more arithmetic (Chen et al., 1604.06174)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mixseg.errors import ConfigError


def checkpoint_blocks(backbone: nn.Module, name: str) -> None:
    """Activation checkpointing: every block of a backbone is recomputed in the backward pass.

    Gradients and running statistics stay the same to the bit. Without gradients nothing changes.

    Args:
        backbone: Changed in place; its weights keep their names.
        name: Its name, for errors.

    Raises:
        ConfigError: It has no blocks.
    """
    blocks = list(_blocks(backbone))
    if not blocks:
        raise ConfigError(
            f"model.activation_checkpointing: {name} is not made of blocks of several "
            "convolutions; switch it off, or take another model.backbone, such as resnet50"
        )
    for block in blocks:
        block.forward = functools.partial(_checkpointed, block, block.forward)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Modules of several convolutions that stand in a sequence, the innermost sequences."""
    for child in module.children():
        inner = list(_blocks(child))
        in_a_row = isinstance(module, nn.Sequential) and not isinstance(child, nn.Sequential)
        if inner:
            yield from inner
        elif in_a_row and sum(isinstance(one, nn.Conv2d) for one in child.modules()) > 1:
            yield child


def _checkpointed(block: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(block)

    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norm, which has already seen the batch.

    A copy of the counter is updated instead; ``SyncBatchNorm`` fails without a counter.
    """
    layers = [layer for layer in block.modules() if isinstance(layer, _BatchNorm)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    try:
        for layer in layers:
            count = layer.num_batches_tracked
            layer.momentum = 0.0
            layer.num_batches_tracked = None if count is None else count.clone()
        yield
    finally:
        for layer, (momentum, count) in zip(layers, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
