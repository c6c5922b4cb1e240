"""What the student sees of unlabeled images, and what it is to say of them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class View(NamedTuple):
    """Images with the student's targets.

    Attributes:
        images: float in [0, 1], shape (B, 3, H, W), not yet augmented.
        targets: int64 labels (B, H, W) with 255 = ignore, or float distributions (B, C, H, W).
        weights: float32, shape (B, H, W).
        valid: bool, shape (B, H, W): false where padding shows.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    valid: Tensor
