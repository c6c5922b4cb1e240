"""Flags of a part that the run does not have: whoever types one means it to count."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mixseg.config.flags import SHORT_FLAGS
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError

MIXES_UNLABELED = ("semi_supervised", "domain_adaptation")
"""Methods that mix unlabelled images and let a teacher label them."""

MIXERS = {"none", "mixup", "classmix", "cutmix", "cowmix"}
WEIGHTINGS = {"threshold-proportional", "pixelwise", "sigmoid", "constant"}
LOSSES = {"cross-entropy", "balanced-cross-entropy", "focal", "ohem", "dice"}
"""What settings of one choice are known not to matter for."""


def refuse_idle_flags(flags: Iterable[str], settings: Settings) -> None:
    """Refuse flags that do nothing.

    Files may hold such settings, so that one file serves runs with and without the part.

    Args:
        flags: Paths of settings that were typed, such as ``mixing.mixer``.
        settings: Of the run that follows.

    Raises:
        ConfigError: A flag does nothing; the message names it and what it needs.
    """
    short = {path: flag for flag, path in SHORT_FLAGS.items()}
    needs = _needs(settings)
    for flag in flags:
        for part, (is_there, needed) in needs.items():
            if not is_there and (flag == part or flag.startswith(f"{part}.")):
                raise ConfigError(f"--{short.get(flag, flag)} does nothing without {needed}")


def _needs(settings: Settings) -> dict[str, tuple[bool, str]]:
    """Setting, or section -> whether the run has what it belongs to, and the name of that."""
    mixing, targets = settings.mixing, settings.targets
    mixes = settings.method in MIXES_UNLABELED
    unlabeled = mixes or (settings.method == "distillation" and settings.distillation.unlabeled > 0)
    mixed = (mixes, "unlabelled images to mix: tools/train_ssl.py or tools/train_uda.py")
    mixers = {mixing.labeled} | ({mixing.mixer} if mixes else set())
    losses = set(re.findall(r"[a-z-]*[a-z]", settings.supervised_loss.name))
    return {
        "adversarial": (settings.regularizer != "none", "--regularizer adversarial-temperature"),
        "adversarial.unlabeled": (unlabeled, "unlabelled images to train on"),
        "data.batch_unlabeled": (unlabeled, "unlabelled images to train on"),
        # With the source alone the target may be named as in the run that it is compared with.
        "data.unlabeled": (unlabeled or settings.two_domains, "unlabelled images to train on"),
        "teacher.mode": mixed,
        "teacher.buffers": mixed,
        "distillation": (settings.method == "distillation", "tools/distill.py"),
        "augmentation": mixed,
        "targets": mixed,
        "targets.ramp_steps": _one("sigmoid", {targets.weighting}, WEIGHTINGS, "--weighting"),
        "targets.alignment_decay": (targets.alignment != "none", "--targets.alignment"),
        "mixing.mixer": mixed,
        "mixing.domains": (settings.method == "domain_adaptation", "tools/train_uda.py"),
        "mixing.rounding": _one("classmix", mixers, MIXERS, "--mixer"),
        "mixing.sigma": _one("cowmix", mixers, MIXERS, "--mixer"),
        "mixing.alpha": _one("mixup", mixers, MIXERS, "--mixing.labeled"),
        "supervised_loss.gamma": _one("focal", losses, LOSSES, "--loss"),
        "supervised_loss.ohem_threshold": _one("ohem", losses, LOSSES, "--loss"),
        "supervised_loss.ohem_share": _one("ohem", losses, LOSSES, "--loss"),
        "supervised_loss.dice": _one("dice", losses, LOSSES, "--loss"),
        "supervised_loss.frequencies": _one("balanced-cross-entropy", losses, LOSSES, "--loss"),
    }


def _one(name: str, chosen: set[str], known: set[str], flag: str) -> tuple[bool, str]:
    """A setting of one choice; what somebody added may read it too."""
    return name in chosen or not chosen <= known, f"{flag} {name}"
