"""Fully convolutional networks.

FCN-32s, FCN-16s and FCN-8s add the scores of one, two or three maps (Kim, 3.1.1 and 4.3.1).
Torchvision's FCN on a dilated ResNet is the teacher of Karlı.
"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torchvision.models.segmentation.fcn import FCNHead

from mixseg.models.architecture import Architecture, HeadOnBackbone
from mixseg.models.model import ModelSpec
from mixseg.models.upsampling import build_upsampling
from mixseg.registry import ARCHITECTURES


@ARCHITECTURES.register("fcn32s")
def fcn32s() -> Architecture:
    """Scores of the last map."""
    return HeadOnBackbone(SkipScores, output_strides=(32,), fully_connected=True)


@ARCHITECTURES.register("fcn16s")
def fcn16s() -> Architecture:
    """Scores of the maps of strides 16 and 32."""
    return HeadOnBackbone(SkipScores, output_strides=(32,), skips=(16,), fully_connected=True)


@ARCHITECTURES.register("fcn8s")
def fcn8s() -> Architecture:
    """Scores of the maps of strides 8, 16 and 32."""
    return HeadOnBackbone(SkipScores, output_strides=(32,), skips=(8, 16), fully_connected=True)


@ARCHITECTURES.register("fcn")
def fcn() -> Architecture:
    """The head of torchvision's FCN."""
    return HeadOnBackbone(lambda channels, spec: ConvolutionalHead(channels[-1], spec.num_classes))


SKIP_SCALES = (0.01, 0.0001)
"""Factors of the maps of strides 16 and 8 (Kim, 4.3.1). With them the whole network is trained at
once, not one skip after the other. They fit VGG, whose activations are larger nearer to the input.
"""


@final
class SkipScores(nn.Module):
    """A 1x1 convolution on each map; coarse scores are enlarged by two and added to finer ones.

    With one map this is a classifier on the last one: FCN-32s, and the ResNet-50 of Kim, 3.1.1.
    Scores start from zero as in the original FCN, so that the first step moves them alone.
    """

    def __init__(self, channels: tuple[int, ...], spec: ModelSpec) -> None:
        """Channels of each map, finest first; each map has half the stride of the next."""
        super().__init__()
        # Coarse to fine, in the order in which they are added.
        self.scores = nn.ModuleList(
            nn.Conv2d(count, spec.num_classes, kernel_size=1) for count in reversed(channels)
        )
        for parameter in self.scores.parameters():
            nn.init.zeros_(parameter)
        self.upsampling = nn.ModuleList(build_upsampling(spec, factor=2) for _ in channels[1:])

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps (B, channels, h, w), finest first, to logits (B, C, h, w) of the first one's size.

        With p3, p4 and the last map: score(0.0001 p3) + up(score(0.01 p4) + up(score(last))).
        """
        last, *skips = reversed(maps)
        first_score, *skip_scores = self.scores
        total: Tensor = first_score(last)
        for skip, scale, score, upsampling in zip(
            skips, SKIP_SCALES, skip_scores, self.upsampling, strict=False
        ):
            total = score(scale * skip) + upsampling(total, tuple(skip.shape[-2:]))
        return total


@final
class ConvolutionalHead(nn.Module):
    """The head of torchvision's FCN on the last map: 3x3, batch norm, dropout, 1x1."""

    def __init__(self, channels: int, num_classes: int) -> None:
        """Channels of the last map."""
        super().__init__()
        self.classifier = FCNHead(channels, num_classes)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps, finest first, to logits (B, C, h, w) of the size of the last one."""
        logits: Tensor = self.classifier(maps[-1])
        return logits
