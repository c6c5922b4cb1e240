"""CowMix: irregular patches from thresholded smooth noise (Tranheden & Olsson, 2.5.2)."""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from torch import Tensor

from mixseg.config.values import Range, Share
from mixseg.errors import ConfigError
from mixseg.mixing.mixer import Mixer
from mixseg.registry import MIXERS

REFERENCE_AREA = 512 * 1024
"""Pixels of the image for which sigma is given."""

FAR = 6.0
"""Deviations from its center at which a Gaussian kernel is below 2e-8 of its height."""


@MIXERS.register("cowmix")
@final
class CowMix(Mixer):
    """Keeps the pixels where a Gaussian-smoothed noise field lies below its p-quantile.

    Args:
        proportion: Share of the pixels of an image that is kept on average.
        sigma: Log-uniform range of the smoothing in pixels of a 512x1024 image.
        sigma_scaled: Scale sigma with the square root of the image's area; false takes it in pixels
            of any image, as in the published code.

    Raises:
        ConfigError: The range of sigma is not in rising order.
    """

    def __init__(
        self,
        proportion: Share = 0.5,
        sigma: Annotated[tuple[float, float], Range(0.1, 1024)] = (8.0, 32.0),
        *,
        sigma_scaled: bool = True,
    ) -> None:
        if sigma[0] > sigma[1]:
            raise ConfigError(f"mixing.sigma must be two numbers, low <= high, found {sigma}")
        self.sigma = sigma
        self.scaled = sigma_scaled
        # Phi^-1(p): a field of zero mean and unit deviation lies below it with probability p.
        inside = min(max(proportion, 1e-6), 1 - 1e-6)
        self.quantile = math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * inside - 1)))

    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Mixer.mask`; only the shape of the labels is used."""
        batch, height, width = labels.shape
        device = labels.device
        scale = math.sqrt(height * width / REFERENCE_AREA) if self.scaled else 1.0
        low, high = (scale * bound for bound in self.sigma)
        draw = torch.rand(batch, 1, 1, generator=generator, device=device)
        sigma = low * (high / low) ** draw
        with torch.autocast(device.type, enabled=False):  # matrix products would be in bf16
            rows, columns = (bumps(length, sigma, low, high) for length in (height, width))
            shape = (batch, rows.shape[2], columns.shape[2])
            noise = torch.randn(shape, generator=generator, device=device)
            field = rows @ (noise @ columns.mT)
        mean = field.mean(dim=(1, 2), keepdim=True)
        norm = torch.linalg.vector_norm(field, dim=(1, 2), keepdim=True)
        deviation = (norm.square() / (height * width) - mean.square()).clamp(min=0).sqrt()
        below: Tensor = field < mean + deviation * self.quantile
        return below


def bumps(length: int, sigma: Tensor, low: float, high: float) -> Tensor:
    """Gaussian kernels around the points of a grid, along one axis of an image.

    Noise smoothed with a Gaussian is a sum of such kernels with random heights. They need not stand
    on every pixel: on a grid as fine as sigma the variance of the sum differs by a ten-thousandth,
    2 exp(-pi^2), between a point and the middle of two. The grid goes on for four of the largest
    sigma on both sides, so that the field is the same everywhere.

    Args:
        length: Pixels along the axis.
        sigma: Pixels, shape (B, 1, 1), between ``low`` and ``high``.

    Returns:
        float32, shape (B, length, points).
    """
    spacing, reach = max(1.0, low), 4 * high
    points = math.ceil((length - 1 + 2 * reach) / spacing) + 1
    centers = torch.arange(points, device=sigma.device) * spacing - reach
    pixels = torch.arange(float(length), device=sigma.device)
    distance = (pixels.unsqueeze(1) - centers) / sigma
    # Far away a kernel is 0; denormal numbers next to 0 would be many times as slow.
    return torch.exp(-0.5 * distance.clamp(-FAR, FAR).square())
