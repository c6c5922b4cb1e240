"""Flags of a part that the run does not have: whoever types one means it to count."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mixseg.config.flags import SHORT_FLAGS
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError

MIXERS = {"none", "mixup", "classmix", "cutmix", "cowmix"}
WEIGHTINGS = {"threshold-proportional", "pixelwise", "sigmoid", "constant"}
LOSSES = {"cross-entropy", "balanced-cross-entropy", "focal", "ohem", "dice"}
WITHOUT_RATES = {"fcn32s", "fcn16s", "fcn8s", "fcn", "enet"}
WITHOUT_POWER = {"cosine", "one-cycle", "constant"}
"""Choices that are known not to read the settings of others; what somebody added may."""


def refuse_idle_flags(
    flags: Iterable[str], settings: Settings, *, takes_unlabeled: bool, mixes_unlabeled: bool
) -> None:
    """Refuse flags that do nothing.

    Files may hold such settings, so that one file serves runs with and without the part.

    Args:
        flags: Paths of settings that were typed, such as ``mixing.mixer``.
        settings: Of the run that follows.
        takes_unlabeled: Whether its method, with these settings, takes unlabelled images.
        mixes_unlabeled: Whether it mixes them, and a teacher labels them.

    Raises:
        ConfigError: A flag does nothing; the message names it and what it needs.
    """
    short = {path: flag for flag, path in SHORT_FLAGS.items()}
    needs = _needs(settings, takes_unlabeled=takes_unlabeled, mixes_unlabeled=mixes_unlabeled)
    for flag in flags:
        for part, (is_there, needed) in needs.items():
            if not is_there and (flag == part or flag.startswith(f"{part}.")):
                raise ConfigError(f"--{short.get(flag, flag)} does nothing without {needed}")


def _needs(
    settings: Settings, *, takes_unlabeled: bool, mixes_unlabeled: bool
) -> dict[str, tuple[bool, str]]:
    """Setting, or section -> whether the run has what it belongs to, and the name of that."""
    mixing, targets = settings.mixing, settings.targets
    distills = settings.method == "distillation"
    taken = (
        takes_unlabeled,
        "--distillation.unlabeled 1" if distills else "unlabelled images to train on",
    )
    # A baseline may name the images of the run that it is compared with.
    named = (True, "") if settings.method == "supervised" else taken
    mixed = (
        mixes_unlabeled,
        "unlabelled images to mix: methods semi_supervised and domain_adaptation have them, "
        "supervised training and --source-only have not",
    )
    drawn = settings.data.root is None or (
        settings.two_domains and settings.source_domain.root is None
    )
    jitters = settings.augmentation.colour_jitter > 0, "--augmentation.colour_jitter 0.25"
    mixer_flag = "--mixer" if mixes_unlabeled else "--mixing.labeled"
    mixers = {mixing.labeled} | ({mixing.mixer} if mixes_unlabeled else set())
    losses = set(re.findall(r"[a-z-]*[a-z]", settings.supervised_loss.name))
    return {
        "adversarial": (settings.regularizer != "none", "--regularizer adversarial-temperature"),
        "adversarial.unlabeled": taken,
        "data.batch_unlabeled": named,
        "data.unlabeled": named,
        "data.padding": (settings.crops, "--data.crop"),
        "data.skip_bad_share": (settings.data.skip_bad, "--skip-bad"),
        "demo": (drawn, "built-in scenes: leave --data-root out"),
        "distillation": (distills, "tools/distill.py"),
        "model.rates": (
            settings.model.architecture not in WITHOUT_RATES,
            "--model.architecture deeplabv2",
        ),
        "schedule.power": (settings.schedule.name not in WITHOUT_POWER, "--schedule.name poly"),
        "source_domain": (settings.two_domains, "--source NAME (tools/train_uda.py)"),
        "teacher.mode": mixed,
        "teacher.buffers": mixed,
        "augmentation": mixed,
        "augmentation.colour_jitter_probability": jitters,
        "augmentation.colour_jitter_form": jitters,
        "augmentation.per": jitters,
        "augmentation.blur_probability": (settings.augmentation.blur, "--augmentation.blur"),
        "targets": mixed,
        "targets.per": _one("threshold-proportional", {targets.weighting}, WEIGHTINGS, "weighting"),
        "targets.ramp_steps": _one("sigmoid", {targets.weighting}, WEIGHTINGS, "weighting"),
        "targets.alignment_decay": (targets.alignment != "none", "--targets.alignment"),
        "mixing.mixer": mixed,
        "mixing.domains": (
            mixes_unlabeled and settings.two_domains,
            "two domains to mix: method domain_adaptation has them",
        ),
        "mixing.proportion": (
            not mixers <= {"none", "mixup"},
            f"{mixer_flag} classmix, cutmix or cowmix",
        ),
        "mixing.rounding": _one("classmix", mixers, MIXERS, mixer_flag[2:]),
        "mixing.sigma": _one("cowmix", mixers, MIXERS, mixer_flag[2:]),
        "mixing.sigma_scaled": _one("cowmix", mixers, MIXERS, mixer_flag[2:]),
        "mixing.ignore_is_class": _one("classmix", mixers, MIXERS, mixer_flag[2:]),
        "mixing.alpha": _one("mixup", mixers, MIXERS, "mixing.labeled"),
        "supervised_loss.gamma": _one("focal", losses, LOSSES, "loss"),
        "supervised_loss.ohem_threshold": _one("ohem", losses, LOSSES, "loss"),
        "supervised_loss.ohem_share": _one("ohem", losses, LOSSES, "loss"),
        "supervised_loss.dice": _one("dice", losses, LOSSES, "loss"),
        "supervised_loss.frequencies": _one("balanced-cross-entropy", losses, LOSSES, "loss"),
    }


def _one(name: str, chosen: set[str], known: set[str], flag: str) -> tuple[bool, str]:
    """A setting of one choice; what somebody added may read it too."""
    return name in chosen or not chosen <= known, f"--{flag} {name}"
