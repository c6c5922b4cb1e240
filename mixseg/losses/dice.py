"""Soft dice loss (Lourenço, equation 7): every class counts alike, however few its pixels."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from mixseg.distributed import summed
from mixseg.losses.counted import at_least_float32, counted_pixels
from mixseg.losses.supervised import SupervisedLoss
from mixseg.registry import LOSSES


@LOSSES.register("dice")
def dice(dice: Literal["mean", "sum", "all"] = "mean") -> SupervisedLoss:
    """1 minus the overlap of probabilities y and targets q, of each class in the whole batch.

    The overlap of a class is 2 sum(y q) / (sum(y) + sum(q)) over the counted pixels, and 0 for a
    class that no target has. No constant smooths the quotient, since a class that is there never
    divides by 0. The loss is in [0, 1], but for ``sum``: in [1 - C, 1]. Where targets are
    distributions, it is above 0 even for probabilities that equal them.

    Args:
        dice: 1 - the mean over the classes that a batch has, or 1 - the sum as it is printed, or
            1 - the mean over all classes with 1 added to both sides of the quotient, as in the
            paper's code.
    """
    return partial(dice_loss, over=dice)


def dice_loss(
    logits: Tensor, targets: Tensor, over: Literal["mean", "sum", "all"] = "mean"
) -> Tensor:
    """The loss of :func:`dice`; see :data:`mixseg.losses.supervised.SupervisedLoss`."""
    # Products are written out: under autocast a matrix product would leave float32.
    probabilities = at_least_float32(logits).softmax(dim=1)
    counted = counted_pixels(targets).unsqueeze(1)
    if targets.is_floating_point():
        targets = targets.to(probabilities.dtype)
        shared = summed((probabilities * targets).sum(dim=(0, 2, 3)))
        wanted = summed(targets.sum(dim=(0, 2, 3)))
    else:
        # A mask takes an eighth of the memory of int64 one-hot labels. Adding up by label instead
        # would be atomic additions, whose order differs between runs on a GPU.
        classes = torch.arange(logits.shape[1], device=targets.device)[:, None, None]
        chosen = targets.unsqueeze(1) == classes
        shared = summed(probabilities.where(chosen, 0).sum(dim=(0, 2, 3)))
        wanted = summed(chosen.sum(dim=(0, 2, 3)))
    given = summed(probabilities.where(counted, 0).sum(dim=(0, 2, 3)))
    if over == "all":
        return 1 - ((2 * shared + 1) / (given + wanted + 1)).mean()
    present = wanted > 0
    overlaps = (2 * shared / (given + wanted).where(present, 1)).where(present, 0)
    if over == "sum":
        return present.any().to(overlaps.dtype) - overlaps.sum()
    return (present.to(overlaps.dtype) - overlaps).sum() / present.sum().clamp(min=1)
