"""Consistency of perturbed features (UniMatch; Yang et al., 2023)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, final

from torch import Tensor

from mixseg.augmentation.channel_dropout import channel_dropout
from mixseg.config.values import Range, Weight
from mixseg.registry import TERMS
from mixseg.terms.term import StepData, Term


@TERMS.register("feature-dropout")
@final
class FeatureDropout(Term):
    """L_fp: the head's answer to features with dropped channels agrees with the pseudo-label.

    The image is the weak view, neither mixed nor augmented.

    Args:
        weight: Factor of the loss; 0 leaves it out.
        rate: Probability with which a channel of a feature map is dropped.
    """

    def __init__(self, weight: Weight = 1.0, rate: Annotated[float, Range(0, 0.99)] = 0.5) -> None:
        self.weight = weight
        self.rate = rate

    def __call__(self, step: StepData) -> Tensor:
        """See :meth:`Term.__call__`."""
        assert step.unlabeled is not None and step.loss is not None
        dropped = partial(channel_dropout, rate=self.rate, generator=step.random.device)
        return step.loss(step.student(step.unlabeled.images, dropped), step.unlabeled)
