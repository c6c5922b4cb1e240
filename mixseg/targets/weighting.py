"""How much each pixel of the mixed images counts (Tranheden & Olsson, 2.5.4)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from mixseg.config.values import Share, Steps
from mixseg.registry import WEIGHTINGS
from mixseg.targets.pseudo_labels import PseudoLabels, confident_fraction


class Weighting(ABC):
    """Weights in [0, 1] of the pixels; the method multiplies the whole loss by lambda_u0.

    Attributes:
        needs_probabilities: Whether it reads the whole distribution of each pixel, which is not
            computed otherwise.
        before_mixing: Whether it weighs the images as the teacher saw them, once in a step, and not
            each view after it is mixed, as in the thesis. What reads the neighbors of a pixel, or
            keeps a state, has to.
        state: Name -> tensor that a resumed run gets back; written in place. Every process of a run
            sees the whole batch, so that it is the same in all.
    """

    needs_probabilities: ClassVar[bool] = False
    before_mixing: ClassVar[bool] = False
    state: Mapping[str, Tensor] = MappingProxyType({})

    @abstractmethod
    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        """The weight of each pixel, float32, shape (B, H, W).

        Args:
            pseudo: Labels and confidences of the images, of the whole batch.
            valid: bool, shape (B, H, W): false where padding shows.
            step: Number of the step, from 0.
        """


@WEIGHTINGS.register("threshold-proportional")
@final
class ThresholdProportional(Weighting):
    """Every pixel weighs as much as the share of confident pixels (2.15).

    Args:
        threshold: Confidence above which a pixel counts as confident (tau).
        per: One confident share for the batch, or one for each image. It is counted on mixed
            images; with mixing.domains inter on target images before anything is pasted. In both
            cases padding does not count.
    """

    def __init__(self, threshold: Share = 0.968, per: Literal["batch", "image"] = "batch") -> None:
        self.threshold = threshold
        self.per = per

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        """See :meth:`Weighting.__call__`."""
        share = confident_fraction(pseudo.confidence, valid, self.threshold, self.per)
        return share.expand_as(pseudo.confidence)


@WEIGHTINGS.register("pixelwise")
@final
class Pixelwise(Weighting):
    """Confident pixels weigh 1, the others 0 (2.14)."""

    def __init__(self, threshold: Share = 0.968) -> None:
        """Args: threshold: confidence above which a pixel counts as confident (tau)."""
        self.threshold = threshold

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        """See :meth:`Weighting.__call__`."""
        return (pseudo.confidence > self.threshold).to(torch.float32)


@WEIGHTINGS.register("sigmoid")
@final
class SigmoidRamp(Weighting):
    """exp(-5 (1 - k / k_max)^2) until step k_max, then 1 (2.13 as drawn in Figure 2.9)."""

    def __init__(self, ramp_steps: Steps = 10_000) -> None:
        """Args: ramp_steps: step at which the ramp reaches 1 (k_max)."""
        self.ramp_steps = ramp_steps

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        """See :meth:`Weighting.__call__`."""
        return torch.full_like(pseudo.confidence, self.weight(step))

    def weight(self, step: int) -> float:
        """The weight of every pixel in a step, counted from 0."""
        progress = min(step / self.ramp_steps, 1.0)
        return math.exp(-5 * (1 - progress) ** 2)


@WEIGHTINGS.register("constant")
@final
class Constant(Weighting):
    """Every pixel weighs 1."""

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        """See :meth:`Weighting.__call__`."""
        return torch.ones_like(pseudo.confidence)
