"""Selection by margin with the neighbors of a pixel (S4MC; Kimhi et al., 2024)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from mixseg.config.values import Share
from mixseg.registry import WEIGHTINGS
from mixseg.targets.percentile import lowest
from mixseg.targets.pseudo_labels import PseudoLabels
from mixseg.targets.weighting import Weighting

SUPPORT = math.exp(-0.5)
"""Weight of a neighbor at a distance of one pixel (beta)."""


@WEIGHTINGS.register("neighbors")
@final
class Neighbors(Weighting):
    """The pixels of the batch with the largest margins weigh 1, the others 0.

    The margin is that between the two most probable classes after each class is supported by the
    neighbor that believes in it most: p' = p + b q - b p q, as for the union of two independent
    events, with q the largest probability of the class among the pixels above, below, left and
    right, and b = exp(-1/2). Labels stay those of the teacher.

    Args:
        margin_kept: Share of the pixels that weighs 1.
    """

    needs_probabilities = True
    before_mixing = True

    def __init__(self, margin_kept: Share = 0.6) -> None:
        self.kept = margin_kept

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        """See :meth:`Weighting.__call__`."""
        own = pseudo.probabilities
        assert own is not None
        # Padding supports nothing.
        padded = functional.pad(own * valid.unsqueeze(1), (1, 1, 1, 1))
        rows, columns = padded[..., 1:-1], padded[..., 1:-1, :]
        sideways = torch.maximum(columns[..., :-2], columns[..., 2:])
        most = torch.maximum(torch.maximum(rows[..., :-2, :], rows[..., 2:, :]), sideways)
        supported = own + SUPPORT * most * (1 - own)
        first, second = supported.topk(2, dim=1).values.unbind(dim=1)
        return lowest(second - first, valid, self.kept)
