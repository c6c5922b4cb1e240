"""DeepLabv2: parallel atrous convolutions on a dilated backbone (002, 3.5 and Table 3.1)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


@final
class AtrousPyramid(nn.Module):
    """The sum of 3x3 convolutions at several dilations, one channel per class.

    Weights start from N(0, 0.01), biases from 0.
    """

    def __init__(self, channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, num_classes, kernel_size=3, padding=rate, dilation=rate)
            for rate in rates
        )
        for branch in self.branches:
            assert isinstance(branch, nn.Conv2d) and branch.bias is not None
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """The last of the maps, (B, channels, h, w), to logits (B, num_classes, h, w)."""
        features = maps[-1]
        return torch.stack([branch(features) for branch in self.branches]).sum(dim=0)
