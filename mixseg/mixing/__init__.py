"""Mixers: which pixels of two images make a third."""

from __future__ import annotations

from collections.abc import Callable

from mixseg.config import MixingSettings
from mixseg.errors import ConfigError, unknown_name
from mixseg.mixing.classmix import ClassMix
from mixseg.mixing.cowmix import CowMix
from mixseg.mixing.cutmix import CutMix
from mixseg.mixing.identity import Identity
from mixseg.mixing.mixer import Mixer, paste, with_partner
from mixseg.mixing.mixup import mixup, mixup_shares

MIXERS: dict[str, Callable[[MixingSettings, int], Mixer]] = {
    "classmix": lambda settings, classes: ClassMix(
        classes, settings.proportion, settings.rounding, ignore_is_class=settings.ignore_is_class
    ),
    "cutmix": lambda settings, classes: CutMix(settings.proportion),
    "cowmix": lambda settings, classes: CowMix(
        settings.proportion, settings.sigma, scaled=settings.sigma_scaled
    ),
    "none": lambda settings, classes: Identity(),
}
"""Name -> mixer from its settings and the number of classes. Add an entry to add a mixer."""


def build_mixer(settings: MixingSettings, num_classes: int) -> Mixer:
    """The mixer that the settings name."""
    if settings.mixer not in MIXERS:
        raise ConfigError(f"mixing.mixer: {unknown_name('mixer', settings.mixer, MIXERS)}")
    return MIXERS[settings.mixer](settings, num_classes)


MIXUP = "mixup"
"""A mixer of labelled images alone: it has no mask, and needs labels."""


def check_labeled_mixer(settings: MixingSettings) -> None:
    """Raise a ConfigError for an unknown ``mixing.labeled``."""
    known = (*MIXERS, MIXUP)
    if settings.labeled not in known:
        message = unknown_name("mixer", settings.labeled, known)
        raise ConfigError(f"mixing.labeled: {message}")


__all__ = [
    "MIXERS",
    "MIXUP",
    "ClassMix",
    "CowMix",
    "CutMix",
    "Mixer",
    "build_mixer",
    "check_labeled_mixer",
    "mixup",
    "mixup_shares",
    "paste",
    "with_partner",
]
