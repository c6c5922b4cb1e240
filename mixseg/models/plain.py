"""Networks as the library would compute them, without mixseg's own forms of convolutions."""

from __future__ import annotations

from torch import nn

from mixseg.models.deeplabv2 import AtrousPyramid
from mixseg.models.dilated_depthwise import DilatedDepthwise


def use_plain_convolutions(network: nn.Module) -> None:
    """Let the library compute what mixseg has forms of its own for; the answers stay the same."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, DilatedDepthwise):
                setattr(parent, name, layer.plain())
            elif isinstance(layer, AtrousPyramid):
                layer.by_taps = False
