"""Upsampling of logits: bilinear interpolation, or transposed convolutions that start as that."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.models.model import ModelSpec


def build_upsampling(spec: ModelSpec, factor: int) -> nn.Module:
    """A module from logits (B, C, h, w) and a size (H, W) to logits (B, C, H, W).

    Args:
        spec: The kind of upsampling, and the number of classes.
        factor: Stride of the input over stride of the output; even.
    """
    if spec.upsampling == "learned":
        return LearnedUpsampling(spec.num_classes, factor)
    return BilinearUpsampling(spec.align_corners)


@final
class BilinearUpsampling(nn.Module):
    """Bilinear interpolation to the given size; nothing is trained."""

    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, C, h, w) to logits (B, C, *size)."""
        return functional.interpolate(
            logits, size=size, mode="bilinear", align_corners=self.align_corners
        )


@final
class LearnedUpsampling(nn.Module):
    """A transposed convolution with kernel 2s and stride s for factor s, as FCN has it.

    It has a kernel for each pair of classes and no bias. Pairs of different classes start from
    zero, the others from bilinear interpolation with the edges of map and image aligned
    (``align_corners=False``). The border of a map is repeated outwards: a convolution would see
    zeros there, and the logits would fade.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        if factor < 2 or factor % 2:
            raise ValueError(f"factor must be even, found {factor}")
        self.factor = factor
        distance = (torch.arange(2 * factor) + 0.5) / factor - 1
        triangle = 1 - distance.abs()
        pairs = torch.eye(channels).view(channels, channels, 1, 1)
        self.weight = nn.Parameter(pairs * torch.outer(triangle, triangle))

    def forward(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, C, h, w) to logits (B, C, *size); cell (0, 0) covers the first s x s pixels.

        A map that covers more is cropped at the bottom and on the right; where it covers less,
        because the backbone rounds sizes down, its border is repeated.
        """
        below, right = (
            max(0, -(-pixels // self.factor) - cells)
            for pixels, cells in zip(size, logits.shape[-2:], strict=True)
        )
        padded = functional.pad(logits, (1, 1 + right, 1, 1 + below), mode="replicate")
        # A kernel reaches half a cell beyond its cell; the repeated cells are cut off, too.
        enlarged = functional.conv_transpose2d(
            padded, self.weight, stride=self.factor, padding=self.factor + self.factor // 2
        )
        return enlarged[..., : size[0], : size[1]]
