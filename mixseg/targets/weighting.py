"""How much each pixel of the mixed images counts (Tranheden & Olsson, 2.5.4).

All weightings lie in [0, 1]; the constant factor lambda_u0 is applied to the loss by the method.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mixseg.config import TargetSettings
from mixseg.errors import ConfigError, unknown_name
from mixseg.targets.pseudo_labels import confident_fraction

Weighting = Callable[[Tensor, Tensor, int], Tensor]
"""(confidence float (B, H, W), valid bool (B, H, W), step) -> weights float32 (B, H, W)."""


def threshold_proportional(settings: TargetSettings) -> Weighting:
    """Every pixel weighs as much as the share of confident pixels (2.15).

    The share is that of the batch, or of each mixed image when ``per`` is ``image``.
    """

    def weights(confidence: Tensor, valid: Tensor, step: int) -> Tensor:
        share = confident_fraction(confidence, valid, settings.threshold, settings.per)
        return share.expand_as(confidence)

    return weights


def pixelwise(settings: TargetSettings) -> Weighting:
    """Confident pixels weigh 1, the others 0 (2.14)."""

    def weights(confidence: Tensor, valid: Tensor, step: int) -> Tensor:
        return (confidence > settings.threshold).to(torch.float32)

    return weights


def sigmoid(settings: TargetSettings) -> Weighting:
    """exp(-5 (1 - k / k_max)^2) until step k_max, then 1 (2.13 as drawn in Figure 2.9)."""

    def weights(confidence: Tensor, valid: Tensor, step: int) -> Tensor:
        progress = min(step / settings.ramp_steps, 1.0)
        return torch.full_like(confidence, math.exp(-5 * (1 - progress) ** 2))

    return weights


def constant(settings: TargetSettings) -> Weighting:
    """Every pixel weighs 1."""

    def weights(confidence: Tensor, valid: Tensor, step: int) -> Tensor:
        return torch.ones_like(confidence)

    return weights


WEIGHTINGS: dict[str, Callable[[TargetSettings], Weighting]] = {
    "threshold-proportional": threshold_proportional,
    "pixelwise": pixelwise,
    "sigmoid": sigmoid,
    "constant": constant,
}
"""Name -> weighting from its settings. Add an entry to add a weighting."""


def build_weighting(settings: TargetSettings) -> Weighting:
    """The weighting that the settings name."""
    if settings.weighting not in WEIGHTINGS:
        message = unknown_name("weighting", settings.weighting, WEIGHTINGS)
        raise ConfigError(f"targets.weighting: {message}")
    return WEIGHTINGS[settings.weighting](settings)
