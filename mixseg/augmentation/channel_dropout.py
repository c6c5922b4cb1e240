"""Dropout of whole channels of feature maps, alone and in complementary pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from mixseg.distributed import own_shard, world


def channel_dropout(features: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Set channels to zero with a probability, and divide the others by its complement.

    The feature perturbation of UniMatch (Yang et al., 2023), with a rate of 1/2.

    Args:
        features: float, shape (B, K, h, w): this process's shard.
        rate: In [0, 1).
        generator: On the device of the features, in the same state in all processes.
    """
    kept = _uniform(features, features.shape[1], generator) >= rate
    return features * (kept.to(features.dtype) / (1 - rate))[..., None, None]


def complementary_dropout(
    features: Tensor, second: bool, share: float, generator: torch.Generator
) -> Tensor:
    """One of two maps of a pair: what is zero in the first is twice as large in the second.

    UniMatch V2 (Yang et al., 2025): the first view is multiplied by m, the second by 2 - m, where m
    is 0 or 2 for each channel, with probability 1/2. Images that are not among the ``share`` have
    m = 1.

    Args:
        features: float, shape (B, K, h, w): this process's shard.
        second: Which of the pair this is; both need a generator in the same state.
        share: Share of the images whose channels are dropped, in [0, 1]; a random half in the
            paper.
        generator: On the device of the features, in the same state in all processes.
    """
    place = _uniform(features, 1, generator, ranks=True)
    factor = 2.0 * (_uniform(features, features.shape[1], generator) < 0.5)
    factor = torch.where(place < round(share * world().size * len(features)), factor, 1.0)
    if second:
        factor = 2 - factor
    return features * factor.to(features.dtype)[..., None, None]


def _uniform(
    features: Tensor, count: int, generator: torch.Generator, *, ranks: bool = False
) -> Tensor:
    """Own rows of float32 (images of all processes, count) in [0, 1), or their ranks by column."""
    images = world().size * len(features)
    drawn = torch.rand(images, count, generator=generator, device=features.device)
    return own_shard(drawn.argsort(dim=0).argsort(dim=0) if ranks else drawn)
