"""The original DeepLabv2 network, transcribed from its description; nothing of mixseg in it.

Names of layers are those of the published weights: ``conv1``, ``bn1``, ``layer1`` to ``layer4``,
``layer5.conv2d_list.N``. Strides lie in the first 1x1 convolution of a block, every block of an
atrous stage has the same rate, and max pooling rounds sizes up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BGR_MEAN = (104.00698793, 116.66876762, 122.67891434)


class Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int, rate: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=rate, dilation=rate, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(before, 4 * width, 1, stride=stride, bias=False),
                nn.BatchNorm2d(4 * width),
            )
            if shortcut
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Branches(nn.Module):
    def __init__(self, classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.conv2d_list = nn.ModuleList(
            nn.Conv2d(2048, classes, 3, padding=rate, dilation=rate) for rate in rates
        )

    def forward(self, x: Tensor) -> Tensor:
        total = self.conv2d_list[0](x)
        for branch in self.conv2d_list[1:]:
            total = total + branch(x)
        return total


class OriginalDeepLab(nn.Module):
    """BGR images in 0-255 with the mean subtracted -> logits at an eighth of the size."""

    def __init__(
        self, blocks: tuple[int, ...], classes: int, rates: tuple[int, ...] = (6, 12, 18, 24)
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, (count, width, stride, rate) in enumerate(
            zip(blocks, (64, 128, 256, 512), (1, 2, 1, 1), (1, 1, 2, 4), strict=True), start=1
        ):
            layers = []
            for index in range(count):
                first = index == 0
                layers.append(Block(channels, width, stride if first else 1, rate, first))
                channels = 4 * width
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.layer5 = Branches(classes, rates)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = functional.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
        for stage in range(1, 6):
            x = getattr(self, f"layer{stage}")(x)
        return x


def random_original(blocks: tuple[int, ...], classes: int, seed: int = 0) -> OriginalDeepLab:
    """A network in evaluation mode whose statistics are not those of a fresh one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OriginalDeepLab(blocks, classes)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.0)
                nn.init.normal_(layer.bias, std=0.1)
                nn.init.normal_(layer.running_mean, std=0.1)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network.eval()


def original_input(images: Tensor) -> Tensor:
    """RGB in [0, 1] to what the published network was fed with."""
    return 255 * images.flip(1) - torch.tensor(BGR_MEAN).view(1, 3, 1, 1)
