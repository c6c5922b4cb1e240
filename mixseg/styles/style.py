"""The style contract, and means that leave padding out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Style(ABC):
    """Gives images the look of other images; what they show, and where, stays."""

    @abstractmethod
    def __call__(
        self,
        images: Tensor,
        like: Tensor,
        generator: torch.Generator,
        valid: Tensor | None = None,
        like_valid: Tensor | None = None,
    ) -> Tensor:
        """Image b in the style of ``like[b % B']``.

        Batches are those of all processes, so that what is drawn is the same on any number of them.

        Args:
            images: float32 RGB in [0, 1], shape (B, 3, H, W); stays as it is.
            like: The images whose style is taken, float32 RGB in [0, 1], shape (B', 3, H', W').
            generator: On any device; all randomness comes from it.
            valid: bool, shape (B, H, W): false where padding shows, which does not count and is
                returned as it was; None where there is none.
            like_valid: The same of ``like``, shape (B', H', W').

        Returns:
            float32 in [0, 1], shape (B, 3, H, W).
        """


def in_turn(values: Tensor, count: int) -> Tensor:
    """Element b % B' of (B', ...) for each b below ``count``."""
    if len(values) == count:
        return values
    return values[torch.arange(count, device=values.device) % len(values)]


def valid_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of (B, C, H, W) over pixels, those that are valid: shape (B, C, 1, 1)."""
    if valid is None:
        return values.mean(dim=(2, 3), keepdim=True)
    counted = valid.unsqueeze(1)
    count = counted.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return (values * counted).sum(dim=(2, 3), keepdim=True) / count
