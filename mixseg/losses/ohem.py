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
    """Mean cross-entropy of the pixels above a threshold, but at least of the N_p hardest.

    N_p = ceil(share * N) of the N counted pixels of the batch (each process takes the hardest of
    its own shard). Pixels that are equally the last of the hardest share the places that are left,
    so that neither the loss nor its gradient depends on the order of pixels.

    The hardest are found among the ceil(share * pixels) largest losses, ignored pixels included:
    that number is known without host-device synchronization. Near share 1 this is a full sort.

    Args:
        ohem_threshold: Cross-entropy in nats above which a pixel always counts (t); 0.36 is that of
            a probability of 0.7 for the right class.
        ohem_share: Part of the labeled pixels of a batch that counts at least (p), hardest first; 1
            is cross-entropy, 0.01 that of the paper's code.
    """
    return partial(ohem_loss, threshold=ohem_threshold, share=ohem_share)


def ohem_loss(logits: Tensor, targets: Tensor, threshold: float, share: float) -> Tensor:
    """The loss of :func:`ohem`; see :data:`mixseg.losses.supervised.SupervisedLoss`."""
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
    # take, because indexing by a scalar tensor would synchronize host and device.
    boundary = hardest.take((places - 1).clamp(min=0)).clamp(max=threshold)
    above = losses > boundary
    level = (losses == boundary) & counted
    left = (places - above.sum()).clamp(min=0).to(losses.dtype)
    return above.to(losses.dtype) + level * (left / level.sum().clamp(min=1))
