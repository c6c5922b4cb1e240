"""Losses: supervised segmentation and consistency."""

from mixseg.losses.consistency import CONSISTENCIES, Consistency, build_consistency
from mixseg.losses.segmentation import segmentation_cross_entropy

__all__ = ["CONSISTENCIES", "Consistency", "build_consistency", "segmentation_cross_entropy"]
