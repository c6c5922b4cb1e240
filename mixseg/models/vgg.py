"""VGG for FCN: maps after pooling, and fully connected layers as convolutions."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn

DROPOUT = 0.5


@final
class FullyConvolutionalVGG(nn.Module):
    """Pooled maps of a VGG network, then fc6 (7x7) and fc7 (1x1) on the last one (Kim, Figure 3-4).

    Weights keep timm's names, ``pre_logits.fc1`` and ``pre_logits.fc2``. Unlike timm's network, fc6
    is padded, so that it has an output for each cell of pool5, and pooling rounds sizes up, so that
    an image of one pixel has every map.
    """

    def __init__(self, network: Any, strides: tuple[int, ...]) -> None:
        """Take timm's VGG and the strides of the maps, finest first; the last is that of fc7."""
        super().__init__()
        self.skips = strides[:-1]
        self.features: nn.Sequential = network.features
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True
        fc6, fc7 = network.pre_logits.fc1, network.pre_logits.fc2
        fc6.padding = tuple(size // 2 for size in fc6.kernel_size)
        self.pre_logits = nn.ModuleDict({"fc1": fc6, "fc2": fc7})
        self.dropout = nn.Dropout(DROPOUT)
        pooled: dict[int, int] = {}
        width = 0
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                width = layer.out_channels
            elif isinstance(layer, nn.MaxPool2d):
                pooled[2 ** (len(pooled) + 1)] = width
        self.channels = (*(pooled[stride] for stride in self.skips), int(fc7.out_channels))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalized images (B, 3, H, W) to maps (B, channels, h, w), finest first."""
        maps, stride, x = [], 1, images
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                stride *= 2
                if stride in self.skips:
                    maps.append(x)
        for fully_connected in self.pre_logits.values():
            x = self.dropout(fully_connected(x).relu())
        return [*maps, x]
