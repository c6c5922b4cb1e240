"""Distribution alignment (Tranheden & Olsson, 2.5.6): pseudo-labels follow a class distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, final

import torch
from torch import Tensor

from mixseg.config.options import Needs
from mixseg.config.values import Share
from mixseg.distributed import summed
from mixseg.ignore import IGNORE, max_and_argmax
from mixseg.registry import FIXED
from mixseg.targets.pseudo_labels import class_counts

LEAST = 1e-4
"""Share of labels below which a class counts as having this one."""

LARGEST = 3.0
"""Limit of b, a factor of 20 of the probability."""


@FIXED.register("alignment", section="targets")
@final
class DistributionAlignment:
    """q~ ~ q p / p~: classes that the teacher has predicted too rarely get more probability.

    p~ is a running average of the teacher's predictions, which starts at p. Their mean may be right
    and the labels wrong all the same: where a class is never the most probable one, no pixel gets
    it, however often it comes second. So ``alignment_of`` labels aligns the shares of the labels:
    log q~ = log q + b, where b of each class grows while the running share of its labels is below
    p, and falls while it is above. That is not from the thesis.

    Args:
        distribution: p, float, shape (C,), not negative, normalized here. A class of share zero
            would never be predicted, and one that is never predicted would divide by zero: none
            goes below a millionth.
        alignment_decay: Averaging factor of the teacher's predictions.
        alignment_of: What follows the distribution: the mean of the probabilities, as in the
            thesis, or the shares of the most probable classes.
        alignment_rate: With labels: step of b for each unit of log p - log p~.

    Attributes:
        distribution: p, float32; part of a run's state, so that a file that changed meanwhile does
            not change a resumed run.
        running: p~, the same form; part of a run's state.
        state: Name -> tensor that a resumed run gets back, of these and b.
    """

    state: Mapping[str, Tensor]

    def __init__(
        self,
        distribution: Tensor,
        alignment_decay: Annotated[
            Share, Needs("targets.alignment", help="--targets.alignment uniform")
        ] = 0.99,
        alignment_of: Annotated[
            Literal["probabilities", "labels"],
            Needs("targets.alignment", help="--targets.alignment labeled"),
        ] = "probabilities",
        alignment_rate: Annotated[
            Share,
            Needs("targets.alignment_of=labels", help="--targets.alignment_of labels"),
        ] = 0.02,
    ) -> None:
        shares = distribution.to(torch.float32).clamp(min=0)
        shares = (shares / shares.sum()).clamp(min=1e-6)
        self.distribution = shares / shares.sum()
        self.running = self.distribution.clone()
        self.decay = alignment_decay
        self.of_labels = alignment_of == "labels"
        self.rate = alignment_rate
        self.bias = torch.zeros_like(self.running)
        self.state = {"wanted": self.distribution, "aligned": self.running}
        if self.of_labels:
            self.state |= {"alignment_bias": self.bias}

    def __call__(self, probabilities: Tensor, valid: Tensor) -> Tensor:
        """Update the running average, then scale and normalize probabilities (B, C, H, W).

        ``valid`` is bool, shape (B, H, W): false where the crop padded the image.
        """
        if self.of_labels:
            self._follow_labels(aligned(probabilities, alignment_factors(self.state)), valid)
            return aligned(probabilities, alignment_factors(self.state))
        count = summed(valid.sum())
        # A plain sum: matrix products would leave float32 under autocast.
        total = (probabilities * valid.unsqueeze(1)).sum((0, 2, 3))
        mean = summed(total) / count.clamp(min=1)
        # A batch of nothing but padding has no class distribution.
        moved = torch.lerp(self.running, mean, 1 - self.decay)
        self.running.copy_(torch.where(count > 0, moved, self.running))
        return aligned(probabilities, alignment_factors(self.state))

    def _follow_labels(self, biased: Tensor, valid: Tensor) -> None:
        """Move p~ towards the shares of the labels, and b by what they lack."""
        labels = torch.where(valid, max_and_argmax(biased)[1].long(), IGNORE)
        counts = summed(class_counts(labels, len(self.bias)))
        count = counts.sum()
        moved = torch.lerp(self.running, counts / count.clamp(min=1), 1 - self.decay)
        self.running.copy_(torch.where(count > 0, moved, self.running))
        # No class is ever as rare as its share may say; one that is not there stays possible.
        lacking = self.distribution.log() - self.running.clamp(min=LEAST).log()
        moved = (self.bias + self.rate * lacking.clamp(-2, 2)).clamp(-LARGEST, LARGEST)
        self.bias.copy_(torch.where(count > 0, moved, self.bias))


def alignment_factors(state: Mapping[str, Tensor]) -> Tensor:
    """What an alignment with this state multiplies probabilities by: float32, shape (C,)."""
    if "alignment_bias" in state:
        return state["alignment_bias"].exp()
    return state["wanted"] / state["aligned"].clamp(min=1e-6)


def aligned(probabilities: Tensor, factors: Tensor) -> Tensor:
    """Distributions (B, C, H, W) times a factor for each class, normalized."""
    scaled = probabilities * factors[:, None, None]
    return scaled / scaled.sum(dim=1, keepdim=True)
