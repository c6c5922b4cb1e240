"""Strong augmentation of the images that the student sees."""

from mixseg.augmentation.per_image import PerImageAugmentation
from mixseg.augmentation.randaugment import RandAugment
from mixseg.augmentation.strong import Augmentation, StrongAugmentation

__all__ = ["Augmentation", "PerImageAugmentation", "RandAugment", "StrongAugmentation"]
