"""Losses: supervised, consistency, distillation and adversarial."""

from mixseg.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss, located_mean
from mixseg.losses.consistency import Consistency
from mixseg.losses.cross_entropy import class_weights, segmentation_cross_entropy
from mixseg.losses.dice import dice_loss
from mixseg.losses.distillation import distillation_divergence, pairwise_difference
from mixseg.losses.focal import focal_loss
from mixseg.losses.ohem import ohem_loss
from mixseg.losses.supervised import SupervisedLoss, build_loss

__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdversarialLoss",
    "Consistency",
    "SupervisedLoss",
    "build_loss",
    "class_weights",
    "dice_loss",
    "distillation_divergence",
    "focal_loss",
    "located_mean",
    "ohem_loss",
    "pairwise_difference",
    "segmentation_cross_entropy",
]
