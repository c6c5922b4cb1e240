"""Losses: supervised segmentation, consistency, adversarial."""

from mixseg.losses.adversarial import (
    ADVERSARIAL_LOSSES,
    AdversarialLoss,
    build_adversarial_loss,
    located_mean,
)
from mixseg.losses.consistency import CONSISTENCIES, Consistency, build_consistency
from mixseg.losses.segmentation import segmentation_cross_entropy

__all__ = [
    "ADVERSARIAL_LOSSES",
    "CONSISTENCIES",
    "AdversarialLoss",
    "Consistency",
    "build_adversarial_loss",
    "build_consistency",
    "located_mean",
    "segmentation_cross_entropy",
]
