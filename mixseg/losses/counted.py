"""Means over the pixels that a supervised loss counts."""

from __future__ import annotations

import torch
from torch import Tensor

from mixseg.distributed import summed
from mixseg.ignore import IGNORE


def counted_pixels(targets: Tensor) -> Tensor:
    """Pixels that have a target.

    Args:
        targets: int64 labels (B, H, W) with 255 = ignore, or float distributions (B, C, H, W) that
            are all zero where a pixel is ignored.

    Returns:
        bool, shape (B, H, W).
    """
    if targets.is_floating_point():
        return targets.sum(dim=1) > 0
    return targets != IGNORE


def counted_mean(total: Tensor, count: Tensor) -> Tensor:
    """A sum of losses divided by the number of pixels, both summed over all processes.

    Collective: every process must call it.

    Args:
        total: float scalar, 0 where no pixel counts.
        count: Number of pixels, or sum of their weights, scalar.

    Returns:
        Scalar; 0, not NaN, where no pixel counts.
    """
    return summed(total) / summed(count).clamp(min=1)


def at_least_float32(values: Tensor) -> Tensor:
    """Convert values of fewer than 32 bits to float32; leave others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
