"""Losses between the outputs of a student and of a teacher (Karlı; Liu et al., TPAMI 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mixseg.distributed import averaged

LARGEST_GRID = 16
"""Most places on a side that are compared; memory grows with the fourth power."""


def distillation_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of each pixel, both softened by the temperature T.

    The factor keeps gradients as large as they are at T = 1 while the temperature grows: those of
    the softened divergence shrink with its square (Hinton et al., 2015). Karlı writes KL(S || T);
    the code that it builds on takes the teacher for the reference, as here.

    Args:
        student: Logits, float, shape (B, C, H, W).
        teacher: Logits of the same shape; no gradient goes there.
        temperature: Above 0.

    Returns:
        float32, shape (B, H, W), at least 0 but for rounding.
    """
    own = functional.log_softmax(student.float() / temperature, dim=1)
    reference = functional.log_softmax(teacher.detach().float() / temperature, dim=1)
    divergence = functional.kl_div(own, reference, reduction="none", log_target=True).sum(dim=1)
    return temperature**2 * divergence


def pairwise_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the similarities of all pairs of places (Liu et al., equation 2).

    Features are averaged over a common grid, at most :data:`LARGEST_GRID` places high and wide. The
    similarity of two places is the cosine between their features.
    Collective: every process must call it.

    Args:
        student: Features, float, shape (B, K, h, w).
        teacher: Features of the same images, any number of channels and any size.

    Returns:
        Scalar, float32.
    """
    rows, columns = (
        min(LARGEST_GRID, own, other)
        for own, other in zip(student.shape[-2:], teacher.shape[-2:], strict=True)
    )

    def similarities(features: Tensor) -> Tensor:
        places = functional.adaptive_avg_pool2d(features.float(), (rows, columns)).flatten(2)
        directions = functional.normalize(places, dim=1)
        return directions.transpose(1, 2) @ directions

    # Differences between similarities are small against the steps of half precision.
    with torch.autocast(student.device.type, enabled=False):
        difference = functional.mse_loss(similarities(student), similarities(teacher.detach()))
    return averaged(difference)
