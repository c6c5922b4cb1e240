"""The one constant that data, targets, losses and metrics share, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

IGNORE = 255
"""Train id of pixels that take no part in any loss or metric."""


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Labels as distributions; all zero where there is none.

    Args:
        labels: int64, shape (B, H, W), 255 = ignore.
        num_classes: Number of classes C.

    Returns:
        float32, shape (B, C, H, W).
    """
    from torch.nn import functional  # layouts know the constant, and need no torch

    known = labels != IGNORE
    hot = functional.one_hot(labels.where(known, 0), num_classes) * known[..., None]
    return hot.permute(0, 3, 1, 2).float()
