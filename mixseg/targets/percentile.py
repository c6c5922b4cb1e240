"""Selection by the entropy of the teacher (U2PL; Wang et al., 2022, III.C)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mixseg.config.values import NoSteps, Share
from mixseg.registry import WEIGHTINGS
from mixseg.targets.pseudo_labels import PseudoLabels
from mixseg.targets.weighting import Weighting


@WEIGHTINGS.register("percentile")
@final
class Percentile(Weighting):
    """The pixels of the batch with the highest entropy weigh 0, the others 1.

    Args:
        dropped: Share of the pixels that is left out in the first step (alpha_0).
        dropped_steps: Steps after which none is left out, in a straight line; 0 keeps the share.
    """

    needs_probabilities = True
    before_mixing = True

    def __init__(self, dropped: Share = 0.2, dropped_steps: NoSteps = 0) -> None:
        self.dropped = dropped
        self.steps = dropped_steps

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        """See :meth:`Weighting.__call__`."""
        assert pseudo.probabilities is not None
        left = max(0.0, 1 - step / self.steps) if self.steps else 1.0
        entropy = torch.special.entr(pseudo.probabilities).sum(dim=1)
        return lowest(entropy, valid, 1 - self.dropped * left)


def lowest(values: Tensor, valid: Tensor, share: float) -> Tensor:
    """1 where a value is among the share of the valid ones that is lowest, else 0.

    Args:
        values: float, shape (B, H, W).
        valid: bool, shape (B, H, W).
        share: In [0, 1]; of n valid pixels those up to the round(share n)-th, and its equals.

    Returns:
        float32, shape (B, H, W).
    """
    ordered = values.masked_fill(~valid, torch.inf).flatten().sort().values
    # The number of valid pixels stays on the device.
    rank = (share * valid.sum().double()).round().long()
    limit = ordered.gather(0, (rank - 1).clamp(min=0).view(1))
    return ((values <= limit) & valid & (rank > 0)).to(torch.float32)
