"""Mixers: which pixels of two images make a third.

A file in this folder, or any imported with ``--import``, adds a mixer by registering it with
:data:`mixseg.registry.MIXERS`.
"""

from mixseg.mixing.classmix import ClassMix
from mixseg.mixing.cowmix import CowMix
from mixseg.mixing.cutmix import CutMix
from mixseg.mixing.identity import Identity
from mixseg.mixing.mixer import Mixer, paste, with_partner
from mixseg.mixing.mixup import Mixup

__all__ = [
    "ClassMix",
    "CowMix",
    "CutMix",
    "Identity",
    "Mixer",
    "Mixup",
    "paste",
    "with_partner",
]
