"""The architecture contract: which feature maps a head takes, and how it is built on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import nn

from mixseg.models.model import ModelSpec


@final
@dataclass(frozen=True)
class Architecture:
    """One entry of :data:`mixseg.models.ARCHITECTURES`.

    Attributes:
        build_head: From the channels of each map and the specification to the head. The head is
            called with the list of maps, finest first, and returns logits (B, num_classes, h, w)
            of the size of the first map.
        output_strides: Values of ``model.output_stride`` that it works at.
        skips: Strides of the maps that it takes besides the last one, finest first.
        fully_connected: Whether a VGG backbone keeps its fully connected layers, as in
            :class:`mixseg.models.vgg.FullyConvolutionalVGG`. Other backbones have none.
    """

    build_head: Callable[[tuple[int, ...], ModelSpec], nn.Module]
    output_strides: tuple[int, ...] = (8, 16, 32)
    skips: tuple[int, ...] = ()
    fully_connected: bool = False

    def strides(self, output_stride: int) -> tuple[int, ...]:
        """Strides of all maps that the head takes, finest first."""
        return (*self.skips, output_stride)
