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
) -> list[str]:
    """Refuse flags that do nothing.

    Files may hold such settings, so that one file serves runs with and without the part. A
    supervised run is the baseline of others: it takes the flags that they take, so that one word
    makes it of their command.

    Args:
        flags: Paths of settings that were typed, such as ``mixing.mixer``.
        settings: Of the run that follows.
        takes_unlabeled: Whether its method, with these settings, takes unlabelled images.
        mixes_unlabeled: Whether it mixes them, and a teacher labels them.

    Returns:
        Flags of a supervised run that do nothing in it, and something in a run that mixes.

    Raises:
        ConfigError: A flag does nothing; the message names it and what it needs.
    """
    short = {path: flag for flag, path in SHORT_FLAGS.items()}
    own = _needs(settings, takes_unlabeled=takes_unlabeled, mixes_unlabeled=mixes_unlabeled)
    compared = (
        _needs(settings, takes_unlabeled=True, mixes_unlabeled=True)
        if settings.method == "supervised"
        else own
    )
    without_effect = []
    for flag in flags:
        missing = _missing(flag, own)
        if missing is None:
            continue
        shown = f"--{short.get(flag, flag)}"
        if _missing(flag, compared) is not None:
            raise ConfigError(f"{shown} does nothing without {missing}")
        without_effect.append(shown)
    return without_effect


def _missing(flag: str, needs: dict[str, tuple[bool, str]]) -> str | None:
    """What a flag would need to have an effect; None if it has one."""
    for part, (is_there, needed) in needs.items():
        if not is_there and (flag == part or flag.startswith(f"{part}.")):
            return needed
    return None


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
        "data.batch_unlabeled": taken,
        "data.unlabeled": taken,
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
