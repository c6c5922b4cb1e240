"""Temperature: logits are divided by it before a softmax (Kim, 2.4 and 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec

from torch import Tensor
from torch.nn import functional

from mixseg.losses.counted import at_least_float32

P = ParamSpec("P")


def tempered(
    function: Callable[Concatenate[Tensor, P], Tensor], temperature: float
) -> Callable[Concatenate[Tensor, P], Tensor]:
    """The function with logits divided by a temperature; at 1 the function itself.

    Below 1 the softmax is sharper, above 1 flatter. Logits of fewer than 32 bits are divided in
    float32.

    Args:
        function: Takes float logits, of any shape, first.
        temperature: Above 0.
    """
    if temperature == 1:
        return function

    def of_divided_logits(logits: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        return function(at_least_float32(logits) / temperature, *args, **kwargs)

    return of_divided_logits


def class_maps(logits: Tensor, counted: Tensor, temperature: float) -> Tensor:
    """Softmax of logits / T at pixels that count, as a discriminator sees it; 0 elsewhere.

    Maps of the ground truth have the same zeros, so that no discriminator can go by them.

    Args:
        logits: float, shape (B, C, H, W).
        counted: bool, shape (B, H, W).
        temperature: Above 0.

    Returns:
        float32, shape (B, C, H, W).
    """
    maps = functional.softmax(logits.float() / temperature, dim=1)
    return maps.where(counted.unsqueeze(1), 0)
