"""The supervised loss that the settings name (Lourenço, section IV)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from mixseg.config import LossSettings
from mixseg.errors import ConfigError
from mixseg.losses.cross_entropy import (
    balanced_cross_entropy,
    class_weights,
    segmentation_cross_entropy,
)
from mixseg.losses.dice import dice_loss
from mixseg.losses.focal import focal_loss
from mixseg.losses.loss_sum import SegmentationLoss, parse_loss_sum, weighted_sum
from mixseg.losses.ohem import ohem_loss

BALANCED = "balanced-cross-entropy"


def _cross_entropy(settings: LossSettings, frequencies: Tensor | None) -> SegmentationLoss:
    return partial(segmentation_cross_entropy, label_smoothing=settings.label_smoothing)


def _balanced_cross_entropy(settings: LossSettings, frequencies: Tensor | None) -> SegmentationLoss:
    if frequencies is None:
        raise ConfigError(f"supervised_loss.name: {BALANCED} needs the share of each class")
    # Shares by hand may be percentages, or not quite add up; as doubles even counts do.
    shares = frequencies.double() / frequencies.double().sum()
    return partial(
        balanced_cross_entropy,
        weights=class_weights(shares),
        label_smoothing=settings.label_smoothing,
    )


def _focal(settings: LossSettings, frequencies: Tensor | None) -> SegmentationLoss:
    return partial(focal_loss, gamma=settings.gamma)


def _ohem(settings: LossSettings, frequencies: Tensor | None) -> SegmentationLoss:
    return partial(ohem_loss, threshold=settings.ohem_threshold, share=settings.ohem_share)


def _dice(settings: LossSettings, frequencies: Tensor | None) -> SegmentationLoss:
    return partial(dice_loss, over=settings.dice)


LOSSES: dict[str, Callable[[LossSettings, Tensor | None], SegmentationLoss]] = {
    "cross-entropy": _cross_entropy,
    BALANCED: _balanced_cross_entropy,
    "focal": _focal,
    "ohem": _ohem,
    "dice": _dice,
}
"""Name -> builder from settings and the share of each class, which not every loss needs."""


def build_loss(settings: LossSettings, frequencies: Tensor | None) -> SegmentationLoss:
    """The loss that the settings name, or the weighted sum of several.

    Args:
        settings: Settings of the loss. Their frequencies are by name and not read here.
        frequencies: float, shape (C,), on the device of the logits: share of each class, not
            negative and not all 0; they are normalised. None where no loss needs them.

    Raises:
        ConfigError: :func:`check_loss` refuses the settings, or frequencies are needed and None.
    """
    factors = parse_loss_sum(settings.name, LOSSES)
    return weighted_sum(
        [(factor, LOSSES[name](settings, frequencies)) for name, factor in factors.items()]
    )


def check_loss(settings: LossSettings) -> None:
    """Refuse a name that :func:`build_loss` cannot read.

    Raises:
        ConfigError: It is neither a loss nor a sum of some, see :func:`parse_loss_sum`, or labels
            are to be smoothed for losses that take none.
    """
    names = parse_loss_sum(settings.name, LOSSES)
    if settings.label_smoothing and not {"cross-entropy", BALANCED} & set(names):
        raise ConfigError(
            f"supervised_loss.label_smoothing does nothing with {settings.name}; it belongs to "
            f"cross-entropy and {BALANCED}"
        )


def needs_frequencies(settings: LossSettings) -> bool:
    """Whether the loss weighs classes by their shares.

    Raises:
        ConfigError: As :func:`check_loss`.
    """
    return BALANCED in parse_loss_sum(settings.name, LOSSES)
