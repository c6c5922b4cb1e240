"""Strong augmentation of the images that the student sees."""

from mixseg.augmentation.strong import Augmentation, StrongAugmentation

__all__ = ["Augmentation", "StrongAugmentation"]
