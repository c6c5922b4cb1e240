"""Margins of unlabeled images whose pseudo-labels do not count (DAFormer; Hoyer et al., 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

Margins = tuple[float, float, float, float]
"""Top, bottom, left and right: pixels, or below 1 shares of the side."""


def inside(margins: Margins | None, valid: Tensor) -> Tensor:
    """Valid pixels, bool (B, H, W), that lie in no margin; shape and type of ``valid``."""
    if margins is None:
        return valid
    height, width = valid.shape[-2:]
    top, bottom, left, right = (
        round(margin * side if margin < 1 else margin)
        for margin, side in zip(margins, (height, height, width, width), strict=True)
    )
    kept = torch.zeros_like(valid)
    kept[:, top : max(0, height - bottom), left : max(0, width - right)] = True
    return valid & kept
