"""Losses between a discriminator and the network it judges (Kim, Table 3-1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from mixseg.losses.counted import counted_mean

PixelLoss = Callable[[Tensor], Tensor]
"""Judgements D(.) in [0, 1], float32 of any shape -> loss of each, of the same shape."""


class AdversarialLoss(NamedTuple):
    """The losses of the discriminator and of the network that it judges, for each pixel.

    Attributes:
        real: Loss of the discriminator where a map is the ground truth.
        fake: Loss of the discriminator where a map is the network's.
        fool: Loss of the network.
    """

    real: PixelLoss
    fake: PixelLoss
    fool: PixelLoss


ADVERSARIAL_LOSSES: dict[str, AdversarialLoss] = {
    # 1/2 (D(y) - 1)^2, 1/2 D(G(x))^2, 1/2 (D(G(x)) - 1)^2: least squares (Kim & Lee, 3 and 4)
    "lsgan": AdversarialLoss(
        real=lambda judged: 0.5 * (judged - 1).square(),
        fake=lambda judged: 0.5 * judged.square(),
        fool=lambda judged: 0.5 * (judged - 1).square(),
    ),
    # -log D(y), -log(1 - D(G(x))), -log D(G(x)); the table has what is maximized
    "dcgan": AdversarialLoss(
        real=lambda judged: -_bounded_log(judged),
        fake=lambda judged: -_bounded_log(1 - judged),
        fool=lambda judged: -_bounded_log(judged),
    ),
}
"""Name -> adversarial loss."""


def located_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the pixels that count: the location map of Kim, Figure 3-7.

    Collective: every process must call it.

    Args:
        values: float, shape (B, H, W).
        counted: bool, shape (B, H, W).

    Returns:
        Scalar; 0 with a zero gradient where nothing counts.
    """
    return counted_mean(values.where(counted, 0).sum(), counted.sum())


def _bounded_log(judged: Tensor) -> Tensor:
    # A judgement of exactly 0 gives no infinity. torch's own cross-entropy of probabilities is
    # refused under autocast on GPUs.
    return judged.clamp(min=1e-7).log()
