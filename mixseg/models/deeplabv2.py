"""DeepLabv2: parallel atrous convolutions on a dilated backbone (Tranheden & Olsson, Table 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.config.values import Range
from mixseg.errors import ConfigError
from mixseg.models.architecture import Architecture, HeadOnBackbone
from mixseg.registry import ARCHITECTURES

MOST_RATES = 32


@ARCHITECTURES.register("deeplabv2")
def deeplabv2(
    rates: Annotated[tuple[int, ...], Range(1, 1024)] = (6, 12, 18, 24),
) -> Architecture:
    """Parallel atrous convolutions on the last map of a backbone.

    Args:
        rates: Dilations of the atrous convolutions, in feature pixels; the published code sums the
            first two alone, [6, 12].

    Raises:
        ConfigError: There are none, or more than 32.
    """
    if not 1 <= len(rates) <= MOST_RATES:
        raise ConfigError(f"model.rates must be 1 to {MOST_RATES} dilations, found {len(rates)}")
    return HeadOnBackbone(
        lambda channels, spec: AtrousPyramid(channels[-1], spec.num_classes, rates)
    )


@final
class AtrousPyramid(nn.Module):
    """The sum of 3x3 convolutions at several dilations, one channel per class.

    Weights start from N(0, 0.01), biases from 0.

    Attributes:
        by_taps: Whether training on a CPU uses :func:`sum_by_taps`.
    """

    def __init__(self, channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.rates = rates
        self.by_taps = True
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
        if self.by_taps and features.device.type == "cpu" and torch.is_grad_enabled():
            weights = [branch.get_parameter("weight") for branch in self.branches]
            biases = [branch.get_parameter("bias") for branch in self.branches]
            return sum_by_taps(features, weights, biases, self.rates)
        return torch.stack([branch(features) for branch in self.branches]).sum(dim=0)


def sum_by_taps(
    features: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    rates: Sequence[int],
) -> Tensor:
    """Sum of atrous convolutions, with the taps of all their kernels as one pointwise convolution.

    With many channels in, few out and wide gaps, the gradients of atrous convolutions take several
    times as long on a CPU as those of this product, whose results are then moved to where the taps
    reach and summed in float32 or finer. In bf16 each tap is rounded, where a convolution rounds
    the sum of its nine.

    Args:
        features: (B, channels, h, w).
        weights: Kernels, each (classes, channels, 3, 3).
        biases: Each (classes,).
        rates: Dilations, each also the padding.

    Returns:
        (B, classes, h, w).
    """
    # A tap takes its neighbor to the center, "fold" takes the center to the neighbor: hence the
    # flipped kernels.
    kernels = [weight.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2) for weight in weights]
    taps = functional.conv2d(features, torch.cat(kernels)[:, :, None, None])
    exact = torch.promote_types(taps.dtype, torch.float32)
    size = (features.shape[2], features.shape[3])
    logits = [
        functional.fold(answers.flatten(2).to(exact), size, 3, dilation=rate, padding=rate)
        # Added one by one: in a sum of their stack the biases would share one gradient tensor, to
        # which a second backward pass would add twice.
        + bias[:, None, None]
        for rate, bias, answers in zip(rates, biases, taps.chunk(len(rates), dim=1), strict=True)
    ]
    return torch.stack(logits).sum(dim=0).to(taps.dtype)
