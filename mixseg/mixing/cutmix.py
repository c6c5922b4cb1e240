"""CutMix: a rectangle of one image on top of another (Tranheden & Olsson, 2.5.2)."""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import Tensor

from mixseg.config.options import Needs
from mixseg.config.values import Range, Share
from mixseg.errors import ConfigError
from mixseg.mixing.mixer import Mixer
from mixseg.registry import MIXERS


@MIXERS.register("cutmix")
@final
class CutMix(Mixer):
    """Keeps a rectangle whose area is the given proportion of the image.

    Its width is uniform in [p W, W], its height p W H / width, its position uniform. With ``area``
    the rectangle shows the partner instead, as in UniMatch.
    """

    def __init__(
        self,
        proportion: Share = 0.5,
        area: Annotated[tuple[float, float] | None, Range(0, 1)] = None,
        aspect: Annotated[
            tuple[float, float],
            Range(0.01, 100),
            Needs("mixing.area", help="--mixing.area 0.02,0.4"),
        ] = (0.3, 3.33),
    ) -> None:
        """Choose rectangles.

        Args:
            proportion: Share of the area of an image that is kept.
            area: Range of the share of an image that its partner covers, uniform, in place of
                mixing.proportion; UniMatch and FixMatch take 0.02,0.4.
            aspect: Range of the height over the width of the partner's rectangle, uniform in the
                part of the range in which a rectangle of its area fits into the image.

        Raises:
            ConfigError: A range is not in rising order.
        """
        for name, bounds in {"area": area, "aspect": aspect}.items():
            if bounds is not None and bounds[0] > bounds[1]:
                raise ConfigError(f"mixing.{name} must be two numbers, low <= high, found {bounds}")
        self.proportion = proportion
        self.area = area
        self.aspect = aspect

    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Mixer.mask`; only the shape of the labels is used."""
        batch, height, width = labels.shape
        count = 3 if self.area is None else 4
        draw = torch.rand(count, batch, 1, 1, generator=generator, device=labels.device)
        if self.area is None:
            share = self.proportion + (1 - self.proportion) * draw[0]
            box_width = (share * width).round()
            # From the rounded width, so that the area keeps its proportion.
            box_height = (self.proportion * width * height / box_width.clamp(min=1)).round()
        else:
            low, high = self.area
            area = (low + (high - low) * draw[3]) * height * width
            # As high or as wide as the image are the last rectangles that fit. Drawing inside of
            # these, rather than again until one fits, leaves the law of the area as it is.
            flattest, tallest = area / width**2, height**2 / area
            flat, tall = (tallest.clamp(max=one).maximum(flattest) for one in self.aspect)
            box_width = (area / torch.lerp(flat, tall, draw[0])).sqrt().round()
            box_height = (area / box_width.clamp(min=1)).round()
        box_height = box_height.clamp(max=height)
        left = (draw[1] * (width - box_width + 1)).floor()
        top = (draw[2] * (height - box_height + 1)).floor()
        x = torch.arange(width, device=labels.device)
        y = torch.arange(height, device=labels.device).unsqueeze(1)
        inside_x = (x >= left) & (x < left + box_width)
        inside_y = (y >= top) & (y < top + box_height)
        inside = inside_x & inside_y
        return inside if self.area is None else ~inside
