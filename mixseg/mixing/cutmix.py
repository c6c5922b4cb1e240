"""CutMix: a rectangle of one image on top of another (Tranheden & Olsson, 2.5.2)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mixseg.config.values import Share
from mixseg.mixing.mixer import Mixer
from mixseg.registry import MIXERS


@MIXERS.register("cutmix")
@final
class CutMix(Mixer):
    """Keeps a rectangle whose area is the given proportion of the image.

    Its width is uniform in [p W, W], its height p W H / width, its position uniform.
    """

    def __init__(self, proportion: Share = 0.5) -> None:
        """Args: proportion: share of the area of an image that is kept."""
        self.proportion = proportion

    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Mixer.mask`; only the shape of the labels is used."""
        batch, height, width = labels.shape
        draw = torch.rand(3, batch, 1, 1, generator=generator, device=labels.device)
        share = self.proportion + (1 - self.proportion) * draw[0]
        box_width = (share * width).round()
        # From the rounded width, so that the area keeps its proportion.
        box_height = (self.proportion * width * height / box_width.clamp(min=1)).round()
        box_height = box_height.clamp(max=height)
        left = (draw[1] * (width - box_width + 1)).floor()
        top = (draw[2] * (height - box_height + 1)).floor()
        x = torch.arange(width, device=labels.device)
        y = torch.arange(height, device=labels.device).unsqueeze(1)
        inside_x = (x >= left) & (x < left + box_width)
        inside_y = (y >= top) & (y < top + box_height)
        return inside_x & inside_y
