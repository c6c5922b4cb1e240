"""Mixers decide which pixels of two images a mixed image is made of.

A mixer is added by a file in this folder, or one given with ``--import``, that registers it with
:data:`mixseg.registry.MIXERS`.
"""

from mixseg.mixing.blocks import block_mask
from mixseg.mixing.classmix import ClassMix
from mixseg.mixing.cowmix import CowMix
from mixseg.mixing.cutmix import CutMix
from mixseg.mixing.identity import Identity
from mixseg.mixing.mixer import Mixer, paste, with_partner
from mixseg.mixing.mixup import Mixup
from mixseg.mixing.segments import segments

__all__ = [
    "ClassMix",
    "CowMix",
    "CutMix",
    "Identity",
    "Mixer",
    "Mixup",
    "block_mask",
    "paste",
    "segments",
    "with_partner",
]
