"""CowMix: irregular patches from thresholded smooth noise (002, 2.5.2)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from mixseg.mixing.mixer import Mixer

REFERENCE_AREA = 512 * 1024
"""Image size in pixels for which sigma is given."""


@final
class CowMix(Mixer):
    """Keeps the pixels where a Gaussian-smoothed noise field lies below its p-quantile.

    Sigma is drawn per image, log-uniform in the given range of pixels at 512x1024, and scaled
    with the square root of the image's area.
    """

    def __init__(self, proportion: float = 0.5, sigma: tuple[float, float] = (8.0, 32.0)) -> None:
        self.sigma = sigma
        # Phi^-1(p): a field of zero mean and unit deviation lies below it with probability p.
        inside = min(max(proportion, 1e-6), 1 - 1e-6)
        self.quantile = math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * inside - 1)))

    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Mixer.mask`; only the shape of the labels is used."""
        batch, height, width = labels.shape
        device = labels.device
        scale = math.sqrt(height * width / REFERENCE_AREA)
        low, high = (math.log(scale * bound) for bound in self.sigma)
        draw = torch.rand(batch, 1, 1, generator=generator, device=device)
        sigma = torch.exp(low + (high - low) * draw)
        # The product with the Gaussian's transform is a circular convolution. A margin as wide as
        # the kernel keeps opposite borders of the image from knowing each other.
        margin = math.ceil(4 * math.exp(high))
        rows, columns = height + margin, width + margin
        noise = torch.randn(batch, rows, columns, generator=generator, device=device)
        frequency_y = torch.fft.fftfreq(rows, device=device).unsqueeze(1)
        frequency_x = torch.fft.rfftfreq(columns, device=device)
        squared = frequency_y**2 + frequency_x**2
        response = torch.exp(-2 * (math.pi * sigma) ** 2 * squared)
        field: Tensor = torch.fft.irfft2(torch.fft.rfft2(noise) * response, s=(rows, columns))
        field = field[:, :height, :width]
        mean = field.mean(dim=(1, 2), keepdim=True)
        deviation = field.std(dim=(1, 2), correction=0, keepdim=True)
        below: Tensor = field < mean + deviation * self.quantile
        return below
