"""ClassMix: half of the classes of an image on another (Tranheden & Olsson, Algorithm 1)."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from mixseg.config.values import Share
from mixseg.mixing.mixer import Mixer
from mixseg.registry import MIXERS


@MIXERS.register("classmix")
@final
class ClassMix(Mixer):
    """Keeps the pixels of ceil(p n) classes, drawn from the n classes present in the label.

    Args:
        num_classes: C, at most 254; labels are below it, or 255.
        proportion: Share of the classes of an image that is kept.
        rounding: Rounding of proportion times classes; Algorithm 1 rounds up, the published
            semi-supervised code down.
        ignore_is_class: Count 255 among the classes of a label, so that unlabeled regions are
            pasted too, without a label; true in the published adaptation code.
    """

    def __init__(
        self,
        num_classes: int,
        proportion: Share = 0.5,
        rounding: Literal["ceil", "floor"] = "ceil",
        *,
        ignore_is_class: bool = False,
    ) -> None:
        self.num_classes = num_classes
        self.proportion = proportion
        self.ignore_is_class = ignore_is_class
        self.round = torch.ceil if rounding == "ceil" else torch.floor

    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Mixer.mask`; ignored pixels are kept only if they count as a class."""
        batch = labels.shape[0]
        ignore = self.num_classes
        ids = labels.clamp(max=ignore).flatten(1)
        present = torch.zeros(batch, ignore + 1, dtype=torch.bool, device=labels.device)
        # As a tensor: on CPUs a number is scattered in more than twice the time.
        present.scatter_(1, ids, present.new_ones(()).expand_as(ids))
        if not self.ignore_is_class:
            present[:, ignore] = False
        # A random order in which present classes come first: the first k of it are drawn
        # without replacement, for all images at once and without asking the device anything.
        score = torch.rand(present.shape, generator=generator, device=labels.device)
        order = score.masked_fill(~present, 2.0).argsort(dim=1)
        # A whole number of classes stays one: in float64, 0.07 * 100 is a little above 7.
        share = self.proportion * present.sum(1, keepdim=True, dtype=torch.float64)
        count = self.round(share.round(decimals=9))
        rank = torch.arange(ignore + 1, device=labels.device).expand_as(order)
        chosen = torch.zeros_like(present).scatter_(1, order, rank < count)
        return chosen.gather(1, ids).view_as(labels)
