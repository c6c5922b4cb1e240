"""Cross-entropy on labeled pixels, plain and balanced (Lourenço, equations 2 to 4)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from torch import Tensor
from torch.nn import functional

from mixseg.config.values import Range
from mixseg.ignore import IGNORE
from mixseg.losses.counted import at_least_float32, counted_mean, counted_pixels
from mixseg.losses.supervised import SupervisedLoss
from mixseg.registry import LOSSES


@LOSSES.register("cross-entropy")
def plain(label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0) -> SupervisedLoss:
    """Mean over the pixels that have a target (Lourenço, equation 2).

    Args:
        label_smoothing: Part of each target, below 1, that is spread evenly over all classes.
    """
    return partial(segmentation_cross_entropy, label_smoothing=label_smoothing)


@LOSSES.register("balanced-cross-entropy")
def balanced(
    class_shares: Tensor,
    label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0,
    frequencies: Annotated[dict[str, float] | None, Range(0, 1e12)] = None,
) -> SupervisedLoss:
    """Cross-entropy in which every class has a weight (Lourenço, equation 3).

    The sum is divided by the number of pixels, as in the equation. torch's own mean divides by the
    sum of their weights, so that a batch of rare classes would count no more than others. Label
    smoothing gives a class its part with the weight of that class.

    Args:
        class_shares: float, shape (C,), on the device of the logits: share of each class, not
            negative and not all 0; they are normalized.
        label_smoothing: Part of each target, below 1, that is spread evenly over all classes.
        frequencies: Share of each class by its name; by default counted from the labeled images.
            Whoever builds the loss makes ``class_shares`` of them.
    """
    # Shares by hand may be percentages, or not quite add up; as doubles even counts do.
    shares = class_shares.double() / class_shares.double().sum()
    return partial(
        segmentation_cross_entropy, label_smoothing=label_smoothing, weights=class_weights(shares)
    )


def segmentation_cross_entropy(
    logits: Tensor, targets: Tensor, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """The loss of :func:`plain`, or of :func:`balanced` with the weight of each class (C,).

    See :data:`mixseg.losses.supervised.SupervisedLoss`.
    """
    total = cross_entropy(logits, targets, "sum", weights=weights, label_smoothing=label_smoothing)
    return counted_mean(total, counted_pixels(targets).sum())


def class_weights(frequencies: Tensor) -> Tensor:
    """w_c = 1 / ln(1.02 + f_c) of shares f_c in [0, 1] (Lourenço, equation 4): from 1.4 to 50."""
    return 1 / (1.02 + frequencies).log()


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    reduction: Literal["sum", "none"],
    *,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of each pixel, 0 where it is ignored, or their sum.

    Args:
        logits: float, shape (B, C, H, W).
        targets: As in :data:`mixseg.losses.supervised.SupervisedLoss`.
        reduction: sum, or none for the loss of each pixel.
        weights: float, shape (C,): weight of each class; by default 1.
        label_smoothing: Part of each target, in [0, 1), that is spread evenly over all classes.

    Returns:
        float32 (float64 for float64 logits), scalar or of shape (B, H, W).
    """
    logits = at_least_float32(logits)
    if weights is not None:
        weights = weights.to(logits.dtype)
    if not targets.is_floating_point():
        return functional.cross_entropy(
            logits,
            targets,
            weights,
            ignore_index=IGNORE,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    targets = targets.to(logits.dtype)
    if label_smoothing > 0:
        # torch would smooth the zeros of an ignored pixel too, which would then count.
        evenly = targets.mean(dim=1, keepdim=True)
        targets = (1 - label_smoothing) * targets + label_smoothing * evenly
    return functional.cross_entropy(logits, targets, weights, reduction=reduction)
