"""Square blocks of an image, drawn each by itself: masked image consistency (Hoyer et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor


def block_mask(
    batch: int,
    height: int,
    width: int,
    block: int,
    ratio: float,
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """Which pixels of masked images are left (Hoyer et al.).

    Blocks lie side by side from the upper left corner on; those at the other borders are cut off.

    Args:
        batch: Number of images, B.
        height: H, in pixels.
        width: W, in pixels.
        block: Side of a block in pixels; 64 in the paper.
        ratio: Share of the blocks that is masked on average; 0.7 in the paper.
        generator: On ``device``.
        device: Of the mask.

    Returns:
        bool, shape (B, H, W): true where a pixel is kept.
    """
    rows, columns = (-(-length // block) for length in (height, width))
    kept = torch.rand(batch, rows, columns, generator=generator, device=device) >= ratio
    y, x = (torch.arange(length, device=device) // block for length in (height, width))
    return kept[:, y[:, None], x]
