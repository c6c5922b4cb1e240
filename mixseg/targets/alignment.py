"""Distribution alignment (Tranheden & Olsson, 2.5.6): pseudo-labels follow a class distribution."""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import Tensor

from mixseg.config.options import Needs
from mixseg.config.values import Share
from mixseg.distributed import summed
from mixseg.registry import FIXED


@FIXED.register("alignment", section="targets")
@final
class DistributionAlignment:
    """q~ ~ q p / p~: classes that the teacher has predicted too rarely get more probability.

    p~ is a running average of the teacher's predictions, which starts at p.

    Args:
        distribution: p, float, shape (C,), not negative, normalized here. A class of share zero
            would never be predicted, and one that is never predicted would divide by zero: none
            goes below a millionth.
        alignment_decay: Averaging factor of the teacher's predictions.

    Attributes:
        distribution: p, float32; part of a run's state, so that a file that changed meanwhile does
            not change a resumed run.
        running: p~, the same form; part of a run's state.
    """

    def __init__(
        self,
        distribution: Tensor,
        alignment_decay: Annotated[
            Share, Needs("targets.alignment", help="--targets.alignment uniform")
        ] = 0.99,
    ) -> None:
        shares = distribution.to(torch.float32).clamp(min=0)
        shares = (shares / shares.sum()).clamp(min=1e-6)
        self.distribution = shares / shares.sum()
        self.running = self.distribution.clone()
        self.decay = alignment_decay

    def __call__(self, probabilities: Tensor, valid: Tensor) -> Tensor:
        """Update the running average, then scale and normalize probabilities (B, C, H, W).

        ``valid`` is bool, shape (B, H, W): false where the crop padded the image.
        """
        count = summed(valid.sum())
        # A plain sum: matrix products would leave float32 under autocast.
        total = (probabilities * valid.unsqueeze(1)).sum((0, 2, 3))
        mean = summed(total) / count.clamp(min=1)
        # A batch of nothing but padding has no class distribution.
        moved = torch.lerp(self.running, mean, 1 - self.decay)
        self.running.copy_(torch.where(count > 0, moved, self.running))
        scaled = probabilities * (self.distribution / self.running.clamp(min=1e-6))[:, None, None]
        return scaled / scaled.sum(dim=1, keepdim=True)
