"""Targets for unlabeled images: pseudo-labels and their weights."""

from mixseg.targets.alignment import DistributionAlignment
from mixseg.targets.average import Average
from mixseg.targets.mean_teacher import MeanTeacher
from mixseg.targets.pseudo_labels import (
    PseudoLabels,
    class_shares,
    confident_fraction,
    most_probable,
    pseudo_labels,
)
from mixseg.targets.teacher import Teacher
from mixseg.targets.view import View
from mixseg.targets.weighting import (
    Constant,
    Pixelwise,
    SigmoidRamp,
    ThresholdProportional,
    Weighting,
)

__all__ = [
    "Average",
    "Constant",
    "DistributionAlignment",
    "MeanTeacher",
    "Pixelwise",
    "PseudoLabels",
    "SigmoidRamp",
    "Teacher",
    "ThresholdProportional",
    "View",
    "Weighting",
    "class_shares",
    "confident_fraction",
    "most_probable",
    "pseudo_labels",
]
