"""Pseudo-labels of the teacher (Tranheden & Olsson, 2.5.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mixseg.distributed import gathered
from mixseg.ignore import IGNORE, max_and_argmax
from mixseg.mixing.mixer import paste


class PseudoLabels(NamedTuple):
    """Pseudo-labels of a batch.

    Attributes:
        labels: int64, shape (B, H, W): the most probable class, 255 outside the image.
        confidence: float32, shape (B, H, W): its probability, 0 outside the image.
        probabilities: float32, shape (B, C, H, W): the whole distribution; None where not needed.
        weights: float32, shape (B, H, W): how much each pixel counts, where that is known before
            images are mixed.
    """

    labels: Tensor
    confidence: Tensor
    probabilities: Tensor | None = None
    weights: Tensor | None = None

    def targets(self, kind: Literal["hard", "soft"]) -> Tensor:
        """Targets of the student: labels, or distributions, which then must not be None."""
        if kind == "hard":
            return self.labels
        assert self.probabilities is not None
        return self.probabilities

    def mapped(self, function: Callable[[Tensor], Tensor]) -> PseudoLabels:
        """Apply a function to each tensor."""
        labels, confidence = function(self.labels), function(self.confidence)
        more = (self.probabilities, self.weights)
        return PseudoLabels(
            labels, confidence, *(one if one is None else function(one) for one in more)
        )

    def pasted(self, mask: Tensor, other: PseudoLabels) -> PseudoLabels:
        """These where the mask (B, H, W) is true, others of the same form elsewhere."""
        rest = iter(one for one in other if one is not None)
        return self.mapped(lambda own: paste(mask, own, next(rest)))

    def gathered(self) -> PseudoLabels:
        """The whole batch, from the shards of all processes; collective."""
        return self.mapped(gathered)


def pseudo_labels(probabilities: Tensor, valid: Tensor) -> PseudoLabels:
    """The most probable class of each pixel (2.11) and how probable it is.

    Args:
        probabilities: float, shape (B, C, H, W), summing to 1 over C.
        valid: bool, shape (B, H, W): false where the crop padded the image.
    """
    confidence, labels = max_and_argmax(probabilities)
    return within(valid, labels.long(), confidence)._replace(probabilities=probabilities)


def most_probable(logits: Tensor, valid: Tensor) -> PseudoLabels:
    """As :func:`pseudo_labels` of the softmax of logits, of which parts alone are in memory.

    Args:
        logits: float, shape (B, C, H, W).
        valid: bool, shape (B, H, W): false where the crop padded the image.
    """
    batch, channels, _, width = logits.shape
    at_once = CACHED if logits.device.type == "cpu" else AT_ONCE
    rows = max(1, at_once // (batch * channels * width))
    parts = [_most_probable(part) for part in torch.split(logits, rows, dim=2)]
    labels, confidence = (torch.cat(some, dim=1) for some in zip(*parts, strict=True))
    return within(valid, labels, confidence)


CACHED, AT_ONCE = 2**20, 2**27
"""Logits per part, on a CPU and elsewhere: what fits into the cache of a CPU, and half a gigabyte,
so that a GPU gets few calls."""


def _most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable class and its probability, as 1 / sum(exp(l - max l))."""
    logits = logits.float()
    largest, labels = max_and_argmax(logits)
    return labels.long(), (logits - largest.unsqueeze(1)).exp_().sum(dim=1).reciprocal()


def within(valid: Tensor, labels: Tensor, confidence: Tensor) -> PseudoLabels:
    """Pseudo-labels with 255 and confidence 0 outside the image."""
    return PseudoLabels(torch.where(valid, labels, IGNORE), torch.where(valid, confidence, 0.0))


def confident_fraction(confidence: Tensor, valid: Tensor, threshold: float, per: str) -> Tensor:
    """The share of valid pixels (B, H, W) whose confidence (B, H, W) lies above the threshold.

    ``per`` is ``batch`` for one share, shape (1, 1, 1), or ``image`` for one each, shape (B, 1, 1).
    """
    axes = (0, 1, 2) if per == "batch" else (1, 2)
    confident = ((confidence > threshold) & valid).sum(axes, keepdim=True)
    total = valid.sum(axes, keepdim=True).clamp(min=1)
    return confident.to(torch.float32) / total


def class_shares(labels: Tensor, num_classes: int) -> Tensor:
    """The share of each class among labels (255 = none): float32, shape (C,); 0 without any."""
    counts = class_counts(labels, num_classes)
    return counts / counts.sum().clamp(min=1)


def class_counts(labels: Tensor, num_classes: int) -> Tensor:
    """How many labels (255 = none) each class has: float32, shape (C,)."""
    # scatter_add_ has a fixed output size; bincount would synchronize to find the largest id.
    counts = torch.zeros(256, device=labels.device)
    flat = labels.flatten()
    counts.scatter_add_(0, flat, torch.ones(flat.shape, device=labels.device))
    return counts[:num_classes]
