"""Losses: supervised segmentation, consistency, adversarial."""

from mixseg.losses.adversarial import (
    ADVERSARIAL_LOSSES,
    AdversarialLoss,
    build_adversarial_loss,
    located_mean,
)
from mixseg.losses.consistency import CONSISTENCIES, Consistency, build_consistency
from mixseg.losses.cross_entropy import (
    class_weights,
    segmentation_cross_entropy,
)
from mixseg.losses.dice import dice_loss
from mixseg.losses.distillation import distillation_divergence, pairwise_difference
from mixseg.losses.focal import focal_loss
from mixseg.losses.loss_sum import SegmentationLoss
from mixseg.losses.ohem import ohem_loss
from mixseg.losses.segmentation import LOSSES, build_loss, check_loss, needs_frequencies

__all__ = [
    "ADVERSARIAL_LOSSES",
    "CONSISTENCIES",
    "LOSSES",
    "AdversarialLoss",
    "Consistency",
    "SegmentationLoss",
    "build_adversarial_loss",
    "build_consistency",
    "build_loss",
    "check_loss",
    "class_weights",
    "dice_loss",
    "distillation_divergence",
    "focal_loss",
    "located_mean",
    "needs_frequencies",
    "ohem_loss",
    "pairwise_difference",
    "segmentation_cross_entropy",
]
