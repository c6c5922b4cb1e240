"""Mean and covariance of colors from another image, in CIE LAB.

Colors are moved between images in a space that is made for what people see, as Reinhard et al. 2001
do, and with their covariance, by whitening and coloring.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mixseg.registry import STYLES
from mixseg.styles.lab import lab_to_rgb, rgb_to_lab
from mixseg.styles.style import Style, in_turn, valid_mean

ROUNDING = 0.01
"""Variance in LAB, about that of rounding to 8 bits, added on both sides: noise is not amplified in
an image that has less of its own."""


@STYLES.register("color-statistics")
@final
class ColorStatistics(Style):
    """The affine map of colors in LAB after which mean and covariance are those of another image.

    With the covariances' Cholesky factors S of an image and T of the other the map is
    x -> T S^-1 (x - mean) + mean'. Lightness then follows lightness alone, and rises with it.
    Colors that no screen has are cut off. Nothing is drawn.
    """

    def __call__(
        self,
        images: Tensor,
        like: Tensor,
        generator: torch.Generator,
        valid: Tensor | None = None,
        like_valid: Tensor | None = None,
    ) -> Tensor:
        """See :class:`Style`."""
        with torch.autocast(images.device.type, enabled=False):  # matrix products would be in bf16
            own = rgb_to_lab(images)
            mean, factor = _statistics(own, valid)
            wanted_mean, wanted_factor = (
                in_turn(one, len(images)) for one in _statistics(rgb_to_lab(like), like_valid)
            )
            # X with X S = T, without an inverse.
            turn = torch.linalg.solve_triangular(factor, wanted_factor, upper=False, left=False)
            moved = (turn @ (own - mean).flatten(2)).view_as(own) + wanted_mean
            styled = lab_to_rgb(moved)
        return styled if valid is None else torch.where(valid.unsqueeze(1), styled, images)


def _statistics(colors: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean (B, 3, 1, 1) and Cholesky factor of the covariance (B, 3, 3) of (B, 3, H, W)."""
    mean = valid_mean(colors, valid)
    away = colors - mean
    products = away.unsqueeze(1) * away.unsqueeze(2)
    covariance = valid_mean(products.flatten(1, 2), valid).view(-1, 3, 3)
    covariance = covariance + ROUNDING * torch.eye(3, device=colors.device, dtype=colors.dtype)
    # Positive definite by construction, so that nothing has to be checked, which would wait.
    return mean, torch.linalg.cholesky_ex(covariance).L
