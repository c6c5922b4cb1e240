"""Class-balanced selection of pseudo-labels over a whole set of images (Zou et al., 2018, CBST).

One threshold for all classes takes the easy ones and leaves the rare and difficult ones out. Here
each class has its own: the same share of its pixels counts, the most confident ones.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mixseg.ignore import IGNORE

BINS = 2**14
"""Bins of a histogram: 683 for each halving of the distance to certainty."""

HALVINGS = 24
"""Halvings of 1 - confidence that are told apart; float32 knows no more below 1."""


@final
class ConfidenceHistogram:
    """Pixels of a set of images by their predicted class and confidence.

    Bins are even in -log2(1 - confidence): a trained network is nearly certain of most pixels, and
    these have to be told apart. It takes the same memory whatever the number of images.

    Attributes:
        counts: int64, shape (C, BINS).
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(num_classes, BINS, dtype=torch.int64, device=device)

    def update(self, labels: Tensor, confidence: Tensor) -> None:
        """Count the pixels of predictions.

        Args:
            labels: uint8, any shape: the most probable class.
            confidence: float32, same shape: its probability.
        """
        cells = labels.long() * BINS + bin_of(confidence)
        counted = torch.bincount(cells.flatten(), minlength=self.counts.numel())
        self.counts += counted.view_as(self.counts)

    def lowest_bins(self, share: float) -> Tensor:
        """The bin from which on pixels of each class count: int64, shape (C,).

        Of n pixels of a class at least round(share n) lie in these bins, and at least one if there
        is any; beyond them only those that share a bin with the last of them.
        """
        totals = self.counts.sum(dim=1)
        wanted = (share * totals.double()).round().long().clamp(min=1)
        at_least = self.counts.flip(1).cumsum(1).flip(1)
        # Falls with the bin. A class without pixels has none that could count.
        return ((at_least >= wanted[:, None]).sum(dim=1) - 1).clamp(min=0)


def bin_of(confidence: Tensor) -> Tensor:
    """The bin of confidences in [0, 1]: int64, same shape, in [0, BINS)."""
    halvings = -torch.log2((1 - confidence).clamp(min=2.0**-HALVINGS))
    return (halvings * (BINS / HALVINGS)).long().clamp(max=BINS - 1)


def confidence_of(bins: Tensor) -> Tensor:
    """The lowest confidence in each bin: float64, same shape."""
    return 1 - torch.exp2(-bins.double() * (HALVINGS / BINS))


def selected(labels: Tensor, confidence: Tensor, lowest: Tensor) -> Tensor:
    """Predictions with 255 where a pixel is not among the most confident of its class.

    Args:
        labels: uint8, any shape: the most probable class.
        confidence: float32, same shape: its probability.
        lowest: As :meth:`ConfidenceHistogram.lowest_bins` has them.
    """
    return labels.where(bin_of(confidence) >= lowest[labels.long()], IGNORE)
