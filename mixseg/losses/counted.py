"""Which pixels a supervised loss counts, and the arithmetic it counts in."""

from __future__ import annotations

import torch
from torch import Tensor

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


def number_counted(targets: Tensor) -> Tensor:
    """N of the equations: how many pixels have a target, but at least 1.

    A sum of losses over no pixel divided by it is 0, not NaN.

    Args:
        targets: As for :func:`counted_pixels`.

    Returns:
        int64 scalar.
    """
    return counted_pixels(targets).sum().clamp(min=1)


def at_least_float32(values: Tensor) -> Tensor:
    """Values of fewer than 32 bits in float32; others, double ones too, as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
