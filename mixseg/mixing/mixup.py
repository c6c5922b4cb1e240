"""mixup: a weighted mean of two images and of their labels (Lourenço, III.C, equation 1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mixup_shares(batch: int, alpha: float, generator: torch.Generator) -> Tensor:
    """One share lambda ~ Beta(alpha, alpha) for each image.

    Args:
        batch: Number of images.
        alpha: Above 0; small values leave most images almost alone.
        generator: On the CPU; all randomness comes from it.

    Returns:
        float32, shape (B, 1, 1, 1), on the CPU, in [0, 1].
    """
    # torch has no Beta distribution that draws from a generator of its own.
    seed = int(torch.randint(2**62, (), generator=generator))
    shares = np.random.default_rng(seed).beta(alpha, alpha, size=(batch, 1, 1, 1))
    return torch.from_numpy(shares).float()


def mixup(share: Tensor, own: Tensor) -> Tensor:
    """share * own + (1 - share) * partner; the partner of image b is image b + 1.

    Args:
        share: float, shape (B, 1, 1, 1), on any device.
        own: float images or distributions, shape (B, C, H, W).
    """
    # lerp: an image that is its own partner stays exactly as it is.
    share = share.to(own.device, own.dtype, non_blocking=True)
    return torch.lerp(own.roll(-1, dims=0), own, share)
