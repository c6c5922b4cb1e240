"""Focal loss (Lourenço, equation 5): pixels that are already right count less."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from mixseg.config.values import Range
from mixseg.losses.counted import at_least_float32, counted_mean, counted_pixels
from mixseg.losses.cross_entropy import cross_entropy
from mixseg.losses.supervised import SupervisedLoss
from mixseg.registry import LOSSES


@LOSSES.register("focal")
def focal(gamma: Annotated[float, Range(0, 100)] = 2.0) -> SupervisedLoss:
    """Cross-entropy in which each class has the factor (1 - y_c)^gamma, averaged over pixels.

    In targets that are distributions, each class has its own factor.

    Args:
        gamma: Exponent of 1 - y_c; 0 is cross-entropy. (The paper's code has exp((1 - y_c)^gamma)
            for a factor, which is at least 1 and has no setting.)
    """
    return partial(focal_loss, gamma=gamma)


def focal_loss(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """The loss of :func:`focal`; see :data:`mixseg.losses.supervised.SupervisedLoss`."""
    if targets.is_floating_point():
        log_probabilities = at_least_float32(logits).log_softmax(dim=1)
        terms = (
            -targets.to(log_probabilities.dtype)
            * _factor(log_probabilities, gamma)
            * log_probabilities
        )
    else:
        # Only the right class has a term: its log-probability is the cross-entropy, negated.
        losses = cross_entropy(logits, targets, "none")
        terms = _factor(-losses, gamma) * losses
    return counted_mean(terms.sum(), counted_pixels(targets).sum())


def _factor(log_probabilities: Tensor, gamma: float) -> Tensor:
    missing = -log_probabilities.expm1()
    # A power below 1 has an infinite slope at 0: the value of certain and of ignored pixels.
    return missing.clamp(min=torch.finfo(missing.dtype).tiny).pow(gamma)
