"""A check, before training and from shapes alone, that a network takes images of a size.

Some backbones can be built and fail in their first forward pass: window attention needs multiples
of the window, and small images vanish before the last stage.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import timm
import torch
from torch import nn

from mixseg.errors import ConfigError
from mixseg.models.backbone import NO_BACKBONE
from mixseg.models.model import SegmentationModel

UNITS = (32, 64, 128, 224, 256)
"""Multiples of these are tried where a size does not work."""

SUGGESTED = 3
"""Most sizes that a message names."""


def check_input_sizes(network: SegmentationModel, sizes: Iterable[tuple[int, int]]) -> None:
    """Refuse sizes of images that the network fails with.

    The network and torch's generators stay as they are.

    Args:
        network: On any device.
        sizes: Height and width, in pixels.

    Raises:
        ConfigError: A forward pass fails; the message names sizes with which it does not.
    """
    outline = _outline(network)
    for size in dict.fromkeys(sizes):
        # Shapes alone may fail where values would not.
        if _problem(outline, size) is None:
            continue
        reason = _problem(copy.deepcopy(network).eval(), size)
        if reason is not None:
            raise ConfigError(_message(network.spec.backbone, outline, size, reason))


def _message(backbone: str, outline: nn.Module, size: tuple[int, int], reason: str) -> str:
    working = (one for one in _candidates(backbone, *size) if _problem(outline, one) is None)
    found = [f"{one[0]}x{one[1]}" for one in itertools.islice(working, SUGGESTED)]
    advice = (
        f"It takes {', '.join(found)}: set data.crop or, for whole images, data.resize"
        if found
        else "No size was found that it takes; choose another backbone"
    )
    return (
        f"model.backbone {backbone!r} cannot take images of {size[0]}x{size[1]} "
        f"({reason}). {advice}"
    )


def _outline(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode on the meta device: its weights have shapes and no values."""
    tensors: dict[int, Any] = {
        id(value): nn.Parameter(value.to("meta"), value.requires_grad)
        for value in network.parameters()
    }
    tensors |= {id(value): value.to("meta") for value in network.buffers()}
    # With this memo, copying takes the tensors above instead of copying values.
    return copy.deepcopy(network, tensors).eval()


def _problem(network: nn.Module, size: tuple[int, int]) -> str | None:
    """Why a forward pass of one image fails; None where it does not."""
    device = next(network.parameters()).device
    with torch.no_grad():
        try:
            network(torch.zeros(1, 3, *size, device=device))
        except Exception as error:  # of any library that a backbone uses
            text = next(iter(str(error).splitlines()), "")
            return f"{type(error).__name__}: {text}"[:200]
    return None


def _candidates(backbone: str, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Sizes near the one that does not work, then the one that the backbone was made for."""
    known = None if backbone == NO_BACKBONE else timm.get_pretrained_cfg(backbone)
    own = [] if known is None else [(known.input_size[1], known.input_size[2])]
    near = {
        (max(one, one * round(height / one)), max(other, other * round(width / other)))
        for one, other in (*((unit, unit) for unit in UNITS), *own)
    }
    yield from sorted(near, key=lambda one: abs(one[0] - height) + abs(one[1] - width))
    yield from (one for one in own if one not in near)
