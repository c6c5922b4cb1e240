"""Temperature: logits are divided by it before a softmax (Kim, 2.4 and 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional

P = ParamSpec("P")


def tempered(
    function: Callable[Concatenate[Tensor, P], Tensor], temperature: float
) -> Callable[Concatenate[Tensor, P], Tensor]:
    """A function of logits that sees them divided by a temperature.

    Below 1 the softmax is sharper, above 1 flatter. At 1 the function itself is returned, so that
    no temperature costs nothing. Logits of fewer than 32 bits are divided in float32.

    Args:
        function: Takes float logits, of any shape, first.
        temperature: Above 0.
    """
    if temperature == 1:
        return function

    def of_divided_logits(logits: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return function(logits / temperature, *args, **kwargs)

    return of_divided_logits


def class_maps(logits: Tensor, counted: Tensor, temperature: float) -> Tensor:
    """Softmax of logits / T where it counts, as a discriminator sees it.

    Zeros elsewhere, as in maps of the ground truth: otherwise the two could be told apart by their
    holes.

    Args:
        logits: float, shape (B, C, H, W).
        counted: bool, shape (B, H, W).
        temperature: Above 0.

    Returns:
        float32, shape (B, C, H, W).
    """
    maps = functional.softmax(logits.float() / temperature, dim=1)
    return maps.where(counted.unsqueeze(1), 0)
