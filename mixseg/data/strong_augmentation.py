"""Colour jitter and Gaussian blur of a mixed batch (002, 3.4): the image only, never its target.

As in the thesis, each is drawn once for a batch. The draws stay on the CPU, so that the device is
never waited for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from mixseg.config import AugmentationSettings

BLUR_SIGMA = (0.15, 1.15)


@final
class StrongAugmentation:
    """Colour jitter, then blur, each with its probability."""

    def __init__(self, settings: AugmentationSettings) -> None:
        self.settings = settings

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment float RGB images in [0, 1], shape (B, 3, H, W); ``generator`` is on the CPU."""
        settings = self.settings
        # All numbers are drawn in any case: what one switch does to the sequence of draws must
        # not change the meaning of another.
        draws = torch.rand(8, generator=generator).tolist()
        if settings.colour_jitter > 0 and draws[0] < settings.colour_jitter_probability:
            images = jittered(images, settings.colour_jitter, draws[1:5], draws[5])
        if settings.blur and draws[6] < settings.blur_probability:
            low, high = BLUR_SIGMA
            images = blurred(images, low + (high - low) * draws[7])
        return images


def jittered(images: Tensor, strength: float, draws: list[float], order: float) -> Tensor:
    """Brightness, contrast, saturation and hue, rotated into one of four orders.

    Args:
        images: float RGB in [0, 1].
        strength: Factors lie in [1 - strength, 1 + strength], the hue shift in
            [-strength, strength] turns.
        draws: Four numbers in [0, 1).
        order: A number in [0, 1) that says which change comes first.
    """
    shifts = [strength * (2 * draw - 1) for draw in draws]
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda batch: tv.adjust_brightness(batch, 1 + shifts[0]),
        lambda batch: tv.adjust_contrast(batch, 1 + shifts[1]),
        lambda batch: tv.adjust_saturation(batch, 1 + shifts[2]),
        lambda batch: hue_shifted(batch, shifts[3]),
    ]
    first = int(order * len(changes))
    for change in changes[first:] + changes[:first]:
        images = change(images)
    return images


def hue_shifted(images: Tensor, turns: float) -> Tensor:
    """Turn the hue of each pixel; its largest and its smallest channel stay what they are.

    Args:
        images: float RGB in [0, 1], shape (B, 3, H, W).
        turns: Share of the circle of hues, of either sign.
    """
    red, green, blue = images.unbind(dim=1)
    largest = images.amax(dim=1)
    span = largest - images.amin(dim=1)
    # Hue in sixths, 0 at red. Grey has none: its differences are 0, and so is what is made of it.
    divisor = span.masked_fill(span == 0, 1)
    sixths = torch.where(
        largest == red,
        (green - blue) / divisor,
        torch.where(largest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    # A channel falls from the largest to the smallest value in one sixth of the circle, stays
    # there for two, and rises again.
    channels = []
    for offset in (5, 3, 1):
        place = (sixths + (offset + 6 * turns)).remainder_(6)
        fall = torch.minimum(place, 4 - place).clamp_(0, 1)
        channels.append(torch.addcmul(largest, span, fall, value=-1))
    return torch.stack(channels, dim=1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with a kernel of four sigma to each side; beyond lie 6e-5 of its mass.

    The thesis' kernel of a tenth of the image gives the same picture for more work.
    """
    # Reflection at the border needs more pixels than the kernel reaches.
    reach = min(math.ceil(4 * sigma), min(images.shape[-2:]) - 1)
    result: Tensor = tv.gaussian_blur(images, [2 * reach + 1] * 2, [sigma, sigma])
    return result
