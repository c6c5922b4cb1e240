"""mixup: a weighted mean of two images and of their labels (Lourenço, III.C, equation 1)."""

from __future__ import annotations

from typing import Annotated, final

import numpy as np
import torch
from torch import Tensor

from mixseg.config.values import Range
from mixseg.registry import MIXERS


@MIXERS.register("mixup")
@final
class Mixup:
    """share * own + (1 - share) * partner, share ~ Beta(alpha, alpha) for each image.

    It has no mask, and needs labels: it mixes labeled images alone (``mixing.labeled``).

    Args:
        alpha: Both parameters of the Beta distribution that shares are drawn from; small values
            leave most images almost alone.
    """

    def __init__(self, alpha: Annotated[float, Range(0.001, 1000)] = 0.1) -> None:
        self.alpha = alpha

    def shares(self, batch: int, generator: torch.Generator) -> Tensor:
        """One share for each image: float32, shape (B, 1, 1, 1), in [0, 1], on the CPU."""
        # torch has no Beta distribution that draws from a generator of its own.
        seed = int(torch.randint(2**62, (), generator=generator))
        shares = np.random.default_rng(seed).beta(self.alpha, self.alpha, size=(batch, 1, 1, 1))
        return torch.from_numpy(shares).float()

    def mix(self, share: Tensor, own: Tensor) -> Tensor:
        """The mean of images or distributions (B, C, H, W) with the next ones in the batch."""
        # lerp: an image that is its own partner stays exactly as it is.
        share = share.to(own.device, own.dtype, non_blocking=True)
        return torch.lerp(own.roll(-1, dims=0), own, share)
