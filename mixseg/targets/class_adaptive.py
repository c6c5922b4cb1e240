"""Thresholds that follow how sure the teacher is of each class."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mixseg.config.values import Share
from mixseg.registry import WEIGHTINGS
from mixseg.targets.pseudo_labels import PseudoLabels
from mixseg.targets.weighting import Weighting


@WEIGHTINGS.register("class-adaptive")
@final
class ClassAdaptive(Weighting):
    """Pixels above the threshold of their class weigh 1, the others 0.

    tau_c = tau m_c / max m, where m_c is the running mean of the confidence of the pixels that are
    labeled c. The scaling by the surest class is that of FlexMatch (Zhang et al., 2021) and
    FreeMatch (Wang et al., 2023); the mean confidence in place of counts needs no pass over the
    data. A class that the teacher is seldom sure of is taught all the same.

    Args:
        num_classes: C.
        device: Where pseudo-labels are.
        threshold: Threshold of the class that the teacher is surest of (tau).
        class_decay: Averaging factor of the mean confidence of each class; a class that a batch
            does not have keeps its mean.

    Attributes:
        state: ``mean_confidence``, m, float32, shape (C,), at first 1 / C for every class: one that
            is never predicted must not be the surest.
    """

    before_mixing = True

    def __init__(
        self,
        num_classes: int,
        device: torch.device,
        threshold: Share = 0.968,
        class_decay: Share = 0.99,
    ) -> None:
        self.threshold = threshold
        self.decay = class_decay
        self.mean = torch.full((num_classes,), 1 / num_classes, device=device)
        self.state = {"mean_confidence": self.mean}

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        """See :meth:`Weighting.__call__`."""
        classes = len(self.mean)
        # What is no class, or no part of an image, has the last place.
        ids = torch.where(valid, pseudo.labels, classes).clamp(max=classes).flatten()
        sums = torch.zeros(2, classes + 1, device=ids.device)
        sums[0].scatter_add_(0, ids, pseudo.confidence.flatten())
        sums[1].scatter_add_(0, ids, torch.ones_like(pseudo.confidence).flatten())
        total, count = sums[:, :classes]
        moved = torch.lerp(self.mean, total / count.clamp(min=1), 1 - self.decay)
        self.mean.copy_(torch.where(count > 0, moved, self.mean))
        thresholds = self.threshold * self.mean / self.mean.max()
        thresholds = torch.cat((thresholds, thresholds.new_ones(1)))
        return (pseudo.confidence > thresholds[ids].view_as(pseudo.confidence)).to(torch.float32)
