"""The discriminator of label maps (Kim, Figure 3-6)."""

from __future__ import annotations

import itertools
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512)


@final
class Discriminator(nn.Module):
    """Judges for each pixel how much a map of class probabilities looks like ground truth.

    Four 4x4 convolutions of stride 2 with leaky ReLU, batch norm from the second on, a 1x1
    convolution to one channel, sigmoid, and bilinear upsampling to the input size. Unlike DCGAN's
    it judges each place, not the whole image. 2.77 million parameters for 19 classes.

    Weights start as DCGAN's do, from N(0, 0.02), scales of batch norm from N(1, 0.02).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            # Batch norm, from the second on, brings a bias of its own.
            nn.Conv2d(before, after, kernel_size=4, stride=2, bias=number == 0)
            for number, (before, after) in enumerate(itertools.pairwise((num_classes, *WIDTHS)))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS[1:])
        self.judge = nn.Conv2d(WIDTHS[-1], 1, kernel_size=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, mean=1.0, std=0.02)

    def forward(self, maps: Tensor) -> Tensor:
        """Judge maps.

        Args:
            maps: float in [0, 1], shape (B, C, H, W), of at least one pixel.

        Returns:
            float32 in [0, 1], shape (B, H, W); 1 is ground truth.
        """
        features = maps
        for number, convolution in enumerate(self.convolutions):
            features = convolution(_padded(features))
            if number > 0:
                features = self.norms[number - 1](features)
            features = functional.leaky_relu(features, 0.2)
        judged = torch.sigmoid(self.judge(features).float())
        return functional.interpolate(
            judged, size=maps.shape[-2:], mode="bilinear", align_corners=False
        ).squeeze(1)


def _padded(features: Tensor) -> Tensor:
    """Pad with one pixel on each side, and with a second at the bottom or right of an odd size.

    A 4x4 convolution of stride 2 then halves every size and rounds up.
    """
    height, width = features.shape[-2:]
    return functional.pad(features, (1, 1 + width % 2, 1, 1 + height % 2))
