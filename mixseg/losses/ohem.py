"""Online hard example mining (Lourenço, equation 6): only the hardest pixels count."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated

from torch import Tensor

from mixseg.config.values import Range, Share
from mixseg.losses.counted import counted_mean, counted_pixels
from mixseg.losses.cross_entropy import cross_entropy
from mixseg.losses.supervised import SupervisedLoss
from mixseg.registry import LOSSES


@LOSSES.register("ohem")
def ohem(
    ohem_threshold: Annotated[float, Range(0, 100)] = 0.36, ohem_share: Share = 0.0625
) -> SupervisedLoss:
    """Make the loss; see :func:`ohem_loss`.

    Args:
        ohem_threshold: Cross-entropy in nats above which a pixel always counts (t); 0.36 is that of
            a probability of 0.7 for the right class.
        ohem_share: Part of the labeled pixels of a batch that counts at least (p), hardest first; 1
            is cross-entropy, 0.01 that of the paper's code.
    """
    return partial(ohem_loss, threshold=ohem_threshold, share=ohem_share)


def ohem_loss(logits: Tensor, targets: Tensor, threshold: float, share: float) -> Tensor:
    """Mean cross-entropy of the pixels above a threshold, but at least of the N_p hardest.

    N_p = ceil(share * N) of the N pixels of the batch that count (of several processes, each takes
    the hardest of its own shard). Where several pixels are equally the last of the hardest, they
    share the places that are left, so that neither the loss nor its gradient depends on the order
    of pixels. Collective: every process must call it.

    The hardest are found without gradient among ceil(share * pixels) largest losses, ignored
    pixels included: that number is known without host-device synchronisation. A small share
    therefore costs little; near 1 it is a full sort.

    Args:
        logits: float, shape (B, C, H, W).
        targets: int64 labels (B, H, W) with 255 = ignore, or float distributions (B, C, H, W) that
            are all zero where a pixel is ignored.
        threshold: Cross-entropy in nats above which a pixel always counts (t), at least 0.
        share: Part of the counted pixels that counts at least (p), in [0, 1]; 1 is cross-entropy.

    Returns:
        float32 scalar (float64 for float64 logits); 0 where no pixel counts.
    """
    losses = cross_entropy(logits, targets, "none")
    weights = _weights(losses.detach(), counted_pixels(targets), threshold, share)
    return counted_mean((weights * losses).sum(), weights.sum())


def _weights(losses: Tensor, counted: Tensor, threshold: float, share: float) -> Tensor:
    """1 for pixels that count, 0 for others, a fraction for those that share the last places."""
    # Ignored pixels have a loss of 0. Nothing that counts has less, so they are never above the
    # boundary, nor do they push the last of the places down.
    if share == 0:
        return (losses > threshold).to(losses.dtype)
    places = (counted.sum().double() * share).ceil().long()
    hardest = losses.flatten().topk(math.ceil(losses.numel() * share)).values
    # take, because indexing by a scalar tensor would synchronise host and device.
    boundary = hardest.take((places - 1).clamp(min=0)).clamp(max=threshold)
    above = losses > boundary
    level = (losses == boundary) & counted
    left = (places - above.sum()).clamp(min=0).to(losses.dtype)
    return above.to(losses.dtype) + level * (left / level.sum().clamp(min=1))
