"""ENet (Paszke et al. 2016, "ENet", Table 1 and Figure 2), the network of Lourenço."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.models.architecture import Architecture, WholeNetwork
from mixseg.models.model import ModelSpec
from mixseg.registry import ARCHITECTURES

STRIDE = 8
"""Input size over size of the coarsest map."""

DROPOUT_FIRST, DROPOUT = 0.01, 0.1
"""Share of channels that are dropped in stage 1, and in all later stages."""

Activation = Callable[[int], nn.Module]
Middle = Callable[[int], list[nn.Module]]
"""From a width to the convolutions in the middle of a bottleneck."""


@ARCHITECTURES.register("enet")
def enet() -> Architecture:
    """ENet: a whole network."""

    def build(spec: ModelSpec) -> tuple[nn.Module, nn.Module, nn.Module]:
        return Encoder(), Decoder(spec.num_classes), Crop()

    return WholeNetwork(build, output_stride=STRIDE)


class Encoded(NamedTuple):
    """Input of the decoder, for images (B, 3, H, W) padded to multiples of 8.

    Attributes:
        features: Float (B, 128, H/8, W/8).
        indices: Where the two max poolings, finer first, found their values: int64
            (B, 16, H/4, W/4) and (B, 64, H/8, W/8), see :func:`unpool`.
    """

    features: Tensor
    indices: tuple[Tensor, Tensor]


@final
class Encoder(nn.Module):
    """The initial block and stages 1 to 3 of Table 1; activations are PReLU, one slope a channel.

    Images are padded at the bottom and on the right with zeros, the mean color of normalized
    images, so that each pooling halves a size exactly and unpooling gives it back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.initial = InitialBlock()
        self.downsampling1 = DownsamplingBottleneck(16, 64, DROPOUT_FIRST)
        self.stage1 = nn.Sequential(
            *(Bottleneck(64, dilated(1), DROPOUT_FIRST, nn.PReLU) for _ in range(4))
        )
        self.downsampling2 = DownsamplingBottleneck(64, 128, DROPOUT)
        self.stage2 = _context_stage()
        self.stage3 = _context_stage()

    def forward(self, images: Tensor) -> Encoded:
        """Normalized images (B, 3, H, W) of any size to the input of the decoder."""
        below, right = (-size % STRIDE for size in images.shape[-2:])
        x = self.initial(functional.pad(images, (0, right, 0, below)))
        x, fine = self.downsampling1(x)
        x, coarse = self.downsampling2(self.stage1(x))
        return Encoded(self.stage3(self.stage2(x)), (fine, coarse))


@final
class Decoder(nn.Module):
    """Stages 4 and 5 of Table 1 and the last transposed convolution; activations are ReLU."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.upsampling4 = UpsamplingBottleneck(128, 64, DROPOUT)
        self.stage4 = nn.Sequential(*(Bottleneck(64, dilated(1), DROPOUT, _relu) for _ in range(2)))
        self.upsampling5 = UpsamplingBottleneck(64, 16, DROPOUT)
        self.stage5 = Bottleneck(16, dilated(1), DROPOUT, _relu)
        self.classifier = _doubling(16, num_classes)

    def forward(self, encoded: Encoded) -> Tensor:
        """Logits (B, num_classes, H, W) of the size of the padded images."""
        fine, coarse = encoded.indices
        x = self.stage4(self.upsampling4(encoded.features, coarse))
        logits: Tensor = self.classifier(self.stage5(self.upsampling5(x, fine)))
        return logits


@final
class Crop(nn.Module):
    """Cuts off the padding of the encoder."""

    def forward(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, C, h, w), of that size or larger, to logits (B, C, *size)."""
        return logits[..., : size[0], : size[1]]


@final
class InitialBlock(nn.Module):
    """13 filters of stride 2 beside the max pooled image: 16 channels at half size (Figure 2 a)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 13, 3, stride=2, padding=1, bias=False)
        self.finish = nn.Sequential(nn.BatchNorm2d(16), nn.PReLU(16))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, 2h, 2w) to features (B, 16, h, w)."""
        both = torch.cat([self.convolution(images), functional.max_pool2d(images, 2)], dim=1)
        features: Tensor = self.finish(both)
        return features


@final
class Bottleneck(nn.Module):
    """A branch of narrow convolutions that is added to its input (Figure 2 b)."""

    def __init__(
        self, channels: int, middle: Middle, dropout: float, activation: Activation
    ) -> None:
        super().__init__()
        self.branch = _branch(channels, channels, middle, dropout, activation)
        self.activation = activation(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        total: Tensor = self.activation(x + self.branch(x))
        return total


@final
class DownsamplingBottleneck(nn.Module):
    """A bottleneck that halves the size; its main branch is max pooling, padded to the channels."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.branch = _branch(inputs, outputs, dilated(1), dropout, nn.PReLU, stride=2)
        self.activation = nn.PReLU(outputs)
        self.more_channels = outputs - inputs

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, 2h, 2w) to (B, outputs, h, w) and indices of maxima (B, inputs, h, w)."""
        pooled, indices = functional.max_pool2d(x, 2, return_indices=True)
        main = functional.pad(pooled, (0, 0, 0, 0, 0, self.more_channels))
        return self.activation(main + self.branch(x)), indices


@final
class UpsamplingBottleneck(nn.Module):
    """A bottleneck that doubles the size; its main branch is a 1x1 convolution and unpooling."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.branch = _branch(
            inputs, outputs, lambda width: [_doubling(width, width)], dropout, _relu
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        """(B, inputs, h, w), and indices (B, outputs, h, w), to (B, outputs, 2h, 2w)."""
        # The sum has the memory layout of its first term; unpooling loses channels-last.
        total: Tensor = self.activation(self.branch(x) + unpool(self.main(x), indices))
        return total


def unpool(values: Tensor, indices: Tensor) -> Tensor:
    """Put values back where 2x2 max pooling of stride 2 found its maxima; the rest is zero.

    ``torch.nn.functional.max_unpool2d`` does the same, but is not deterministic and ignores
    autocast.

    Args:
        values: Float (B, C, h, w).
        indices: Int64 (B, C, h, w), positions in the flattened map (2h, 2w).
    """
    height, width = values.shape[-2:]
    empty = values.new_zeros(*values.shape[:2], 4 * height * width)
    filled = empty.scatter(2, indices.flatten(2), values.flatten(2))
    return filled.view(*values.shape[:2], 2 * height, 2 * width)


def dilated(rate: int) -> Middle:
    """One 3x3 convolution; with rate 1 that of a regular bottleneck."""
    return lambda width: [nn.Conv2d(width, width, 3, padding=rate, dilation=rate, bias=False)]


def asymmetric(size: int) -> Middle:
    """A column of weights and then a row, instead of a square of odd size."""
    reach = size // 2
    return lambda width: [
        nn.Conv2d(width, width, (size, 1), padding=(reach, 0), bias=False),
        nn.Conv2d(width, width, (1, size), padding=(0, reach), bias=False),
    ]


def _context_stage() -> nn.Sequential:
    """Bottlenecks 2.1 to 2.8, or 3.1 to 3.8 (Table 1)."""
    first = dilated(1), dilated(2), asymmetric(5), dilated(4)
    second = dilated(1), dilated(8), asymmetric(5), dilated(16)
    return nn.Sequential(
        *(Bottleneck(128, middle, DROPOUT, nn.PReLU) for middle in (*first, *second))
    )


def _doubling(inputs: int, outputs: int) -> nn.Module:
    """A transposed 3x3 convolution from (h, w) to (2h, 2w)."""
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False)


def _relu(channels: int) -> nn.Module:
    return nn.ReLU()


def _branch(
    inputs: int,
    outputs: int,
    middle: Middle,
    dropout: float,
    activation: Activation,
    stride: int = 1,
) -> nn.Sequential:
    """Projection, middle and expansion, each normalized; whole channels are dropped at the end."""
    width = outputs // 4
    layers: list[nn.Module] = []
    projection = nn.Conv2d(inputs, width, stride, stride=stride, bias=False)
    for convolution in (projection, *middle(width)):
        layers += [convolution, nn.BatchNorm2d(width), activation(width)]
    expansion = nn.Conv2d(width, outputs, 1, bias=False)
    return nn.Sequential(*layers, expansion, nn.BatchNorm2d(outputs), nn.Dropout2d(dropout))
