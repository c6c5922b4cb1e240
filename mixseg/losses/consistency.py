"""Losses between the student and the teacher's pseudo-labels (Tranheden & Olsson, 2.5 and 3.2)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from mixseg.distributed import averaged
from mixseg.ignore import IGNORE
from mixseg.registry import CONSISTENCIES

Consistency = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits (B, C, H, W), targets, weights (B, H, W)) -> float32 scalar.

Targets are int64 labels of shape (B, H, W) with 255 = ignore, or float distributions of shape
(B, C, H, W). The mean is over all pixels, ignored ones included, as in the paper and its code.
Collective: every process must call it.
"""


@CONSISTENCIES.register("cross-entropy")
def cross_entropy() -> Consistency:
    """Mean over all pixels of weight times cross-entropy."""
    return cross_entropy_consistency


@CONSISTENCIES.register("squared-error")
def squared_error() -> Consistency:
    """Mean over all pixels of weight times squared error of probabilities, summed over classes.

    Equation 2.1. The published code has the mean over classes, with targets.kind soft: for 19
    classes that is targets.unsupervised_weight 0.0526.
    """
    return squared_error_consistency


def cross_entropy_consistency(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The loss of :func:`cross_entropy`; see :data:`Consistency`."""
    # torch refuses ignore_index together with distributions; the weights express theirs.
    ignored = -100 if targets.is_floating_point() else IGNORE
    loss = functional.cross_entropy(logits.float(), targets, ignore_index=ignored, reduction="none")
    return averaged((loss * weights).mean())


def squared_error_consistency(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The loss of :func:`squared_error`; see :data:`Consistency`."""
    probabilities = logits.float().softmax(dim=1)
    if targets.is_floating_point():
        squared = (probabilities - targets).square().sum(dim=1)
        return averaged((squared * weights).mean())
    known = targets != IGNORE
    # |p - e_y|^2 = |p|^2 - 2 p_y + 1 needs no one-hot copy of the target.
    chosen = probabilities.gather(1, targets.where(known, 0).unsqueeze(1)).squeeze(1)
    loss = probabilities.square().sum(dim=1) - 2 * chosen + 1
    return averaged((loss * weights * known).mean())
