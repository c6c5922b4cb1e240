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
    """Make the loss; see :func:`cross_entropy_consistency`."""
    return cross_entropy_consistency


@CONSISTENCIES.register("squared-error")
def squared_error() -> Consistency:
    """Make the loss; see :func:`squared_error_consistency`.

    It is a sum over classes; that of the published code is a mean, with targets.kind soft: for 19
    classes targets.unsupervised_weight 0.0526.
    """
    return squared_error_consistency


def cross_entropy_consistency(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean over all pixels of weight times cross-entropy; see :data:`Consistency`.

    Collective: every process must call it.
    """
    loss = functional.cross_entropy(
        logits.float(), targets, ignore_index=_ignore_index(targets), reduction="none"
    )
    return averaged((loss * weights).mean())


def squared_error_consistency(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean over all pixels of weight times squared error of probabilities, summed over classes.

    Equation 2.1; see :data:`Consistency`. Collective: every process must call it.
    """
    probabilities = logits.float().softmax(dim=1)
    if targets.is_floating_point():
        squared = (probabilities - targets).square().sum(dim=1)
        return averaged((squared * weights).mean())
    known = targets != IGNORE
    # |p - e_y|^2 = |p|^2 - 2 p_y + 1 needs no one-hot copy of the target.
    chosen = probabilities.gather(1, targets.where(known, 0).unsqueeze(1)).squeeze(1)
    loss = probabilities.square().sum(dim=1) - 2 * chosen + 1
    return averaged((loss * weights * known).mean())


def _ignore_index(targets: Tensor) -> int:
    # torch refuses ignore_index together with distributions; theirs is expressed by the weights.
    return -100 if targets.is_floating_point() else IGNORE
