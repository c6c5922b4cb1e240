"""Fourier domain adaptation: slow changes of color from another image (Yang & Soatto 2020)."""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import Tensor
from torch.nn import functional

from mixseg.config.values import Range
from mixseg.registry import STYLES
from mixseg.styles.style import Style, in_turn, valid_mean


@STYLES.register("fourier")
@final
class FourierStyle(Style):
    """Low frequencies keep their phase and take the amplitude of another image.

    They are those of at most beta cycles a pixel along both axes: a window of 2 beta H by 2 beta W
    in the spectrum of H by W. Images of another size are resized first. Padding takes the mean of
    the image around it. What leaves [0, 1] is cut off.
    """

    def __init__(
        self, beta: Annotated[float, Range(0, 0.5)] = 0.01, *, drawn: bool = False
    ) -> None:
        """Choose frequencies.

        Args:
            beta: Highest frequency whose amplitude is taken, in cycles a pixel; 0 takes the mean
                color alone, the paper 0.01, 0.05 and 0.09.
            drawn: Draw the highest frequency of each image uniformly between 0 and style.beta.
        """
        self.beta = beta
        self.drawn = drawn

    def __call__(
        self,
        images: Tensor,
        like: Tensor,
        generator: torch.Generator,
        valid: Tensor | None = None,
        like_valid: Tensor | None = None,
    ) -> Tensor:
        """See :class:`Style`."""
        count, _, *size = images.shape
        like = _without_padding(like, like_valid)
        if list(like.shape[-2:]) != size:
            like = functional.interpolate(like, size, mode="bilinear", antialias=True)
        wanted = in_turn(torch.fft.rfft2(like).abs(), count)
        own = torch.fft.rfft2(_without_padding(images, valid))
        beta = torch.full((count, 1, 1, 1), self.beta, device=generator.device)
        if self.drawn:
            beta *= torch.rand(beta.shape, generator=generator, device=beta.device)
        beta = beta.to(images.device, non_blocking=True)
        y = torch.fft.fftfreq(size[0], device=images.device).abs().unsqueeze(1)
        x = torch.fft.rfftfreq(size[1], device=images.device)
        low = (y <= beta) & (x <= beta)
        # What is added rather than the image itself is transformed back: high frequencies stay
        # exactly as they are.
        change = (torch.polar(wanted, own.angle()) - own) * low
        styled = (images + torch.fft.irfft2(change, s=size)).clamp(0, 1)
        return styled if valid is None else torch.where(valid.unsqueeze(1), styled, images)


def _without_padding(images: Tensor, valid: Tensor | None) -> Tensor:
    """Padding in the mean color of the image that it surrounds, which adds to no frequency."""
    if valid is None:
        return images
    return torch.where(valid.unsqueeze(1), images, valid_mean(images, valid))
