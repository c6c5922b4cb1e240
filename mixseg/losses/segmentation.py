"""Losses on labelled pixels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mixseg.ignore import IGNORE


def segmentation_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, averaged over the pixels that have a label.

    A batch without any labelled pixel gives zero with a zero gradient, not NaN.

    Args:
        logits: float, shape (B, C, H, W).
        labels: int64, shape (B, H, W), 255 = ignore.

    Returns:
        float32 scalar.
    """
    total = functional.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp(min=1)
