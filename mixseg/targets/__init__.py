"""Targets of the unlabelled images: pseudo-labels and their weights."""

from mixseg.targets.pseudo_labels import PseudoLabels, confident_fraction, pseudo_labels
from mixseg.targets.weighting import WEIGHTINGS, Weighting, build_weighting

__all__ = [
    "WEIGHTINGS",
    "PseudoLabels",
    "Weighting",
    "build_weighting",
    "confident_fraction",
    "pseudo_labels",
]
