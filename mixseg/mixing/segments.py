"""Segments of labeled images: single things where their instances are known, else whole classes."""

from __future__ import annotations

import torch
from torch import Tensor

from mixseg.ignore import IGNORE

BITS = 8
IDS = 2**BITS
"""Train ids and 255."""

NUMBERS = 128
"""How many instances of a class are told apart in an image, a power of 2; among more, some are one
segment."""


def segments(labels: Tensor, instances: Tensor | None) -> Tensor:
    """Label plus :data:`IDS` times the number of the segment.

    Ignored pixels stay 255, and a class without instances is segment 0 of itself.

    Args:
        labels: uint8 or int64, shape (B, H, W): train ids, 255 = ignore.
        instances: int32, shape (B, H, W), 0 where a pixel belongs to none; None where they are not
            known at all. Ids count up within a class, as those of data sets do, so that their
            remainders differ.

    Returns:
        int64, shape (B, H, W), whose remainder by :data:`IDS` is the label.
    """
    labels = labels.long()
    if instances is None:
        return labels
    known = (instances > 0) & (labels != IGNORE)
    # By bits, since whole numbers are divided slowly.
    number = known * (1 + (instances & (NUMBERS - 1)))
    return torch.add(labels, number << BITS)
