"""The papers' arithmetic written down plainly, as a baseline.

It was written for this project; it is not the code that the papers' authors released. It goes image
by image and class by class. Random numbers are arguments, so that each function can be compared
with mixseg's form of it. Shapes: images (B, 3, H, W) in [0, 1], labels int64 (B, H, W) with 255 =
ignore, masks bool and weights float (B, H, W), logits (B, C, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import erfinv
from torch import Tensor, nn
from torch.nn import functional

from mixseg.ignore import IGNORE

# Masks (Tranheden & Olsson, 2.5.2 and Algorithm 1) -----------------------------------------------


def classmix_masks(
    labels: Tensor,
    scores: Tensor,
    proportion: float,
    *,
    round_: Callable[[float], int] = math.ceil,
    ignore_is_class: bool = False,
) -> Tensor:
    """Keep ceil(p n) of the n classes of a label: those with the lowest scores.

    Scores are random numbers (B, C + 1) with C above every class, the last one for 255.
    """
    masks = []
    for label, score in zip(labels, scores, strict=True):
        classes = torch.unique(label)
        if not ignore_is_class:
            classes = classes[classes != IGNORE]
        count = round_(round(proportion * len(classes), 9))
        mask = torch.zeros_like(label, dtype=torch.bool)
        for chosen in classes[score[classes.clamp(max=len(score) - 1)].argsort()[:count]]:
            mask = mask | (label == chosen)
        masks.append(mask)
    return torch.stack(masks)


def cutmix_masks(size: tuple[int, int], draws: Tensor, proportion: float) -> Tensor:
    """Rectangles of p H W pixels, of a width between p W and W.

    Draws are numbers in [0, 1), shape (3, B): width, place from the left, place from the top.
    """
    height, width = size
    masks = []
    for share, x, y in draws.T.tolist():
        box_width = round((proportion + (1 - proportion) * share) * width)
        box_height = min(height, round(proportion * height * width / max(1, box_width)))
        left, top = int(x * (width - box_width + 1)), int(y * (height - box_height + 1))
        mask = torch.zeros(size, dtype=torch.bool)
        mask[top : top + box_height, left : left + box_width] = True
        masks.append(mask)
    return torch.stack(masks)


def cowmix_masks(
    noise: NDArray[np.float64], sigmas: Sequence[float], proportion: float
) -> NDArray[np.bool_]:
    """Normal noise (B, H, W) in SciPy's Gaussian filter, below mean + std sqrt(2) erfinv(2p - 1).

    Sigmas are in pixels, one for each image.
    """
    masks = []
    for field, sigma in zip(noise, sigmas, strict=True):
        smooth = gaussian_filter(field, sigma)
        quantile = math.sqrt(2) * erfinv(2 * proportion - 1)
        masks.append(smooth < smooth.mean() + smooth.std() * quantile)
    return np.stack(masks)


def mixed(masks: Tensor, values: Tensor) -> Tensor:
    """M x + (1 - M) x', where x' is the next element of the batch (2.10)."""
    results = []
    for index, mask in enumerate(masks):
        factor = mask.to(values.dtype)
        partner = values[(index + 1) % len(values)]
        results.append(factor * values[index] + (1 - factor) * partner)
    return torch.stack(results)


# Strong augmentation (Tranheden & Olsson, 3.4) ---------------------------------------------------


def jittered(
    image: Tensor, strength: float, draws: Sequence[float], order: Sequence[int], form: str
) -> Tensor:
    """Brightness, contrast, saturation and hue of an image (3, H, W), in the form of a library.

    Draws are a number in [0, 1) for each of these four; ``order`` has their places in this list.
    """
    shifts = [strength * (2 * draw - 1) for draw in draws]
    for change in order:
        factor = 1 + shifts[change]
        if change == 3:
            hue, saturation, value = _hsv(image)
            image = _rgb((hue + shifts[3]) % 1.0, saturation, value)
        elif form == "kornia" and change == 0:
            image = (image + shifts[0]).clamp(0, 1)
        elif form == "kornia" and change == 2:
            hue, saturation, value = _hsv(image)
            image = _rgb(hue, (factor * saturation).clamp(0, 1), value)
        elif change == 0 or form == "kornia":
            image = (image * factor).clamp(0, 1)
        else:
            gray = _gray(image)
            image = _blend(image, gray.mean() if change == 1 else gray, factor)
    return image


def _gray(image: Tensor) -> Tensor:
    return 0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2]


def _blend(image: Tensor, other: Tensor, factor: float) -> Tensor:
    return (factor * image + (1 - factor) * other).clamp(0, 1)


def _hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in turns, saturation and value of RGB (3, H, W)."""
    red, green, blue = image
    value, low = image.max(dim=0).values, image.min(dim=0).values
    span = value - low
    divisor = torch.where(span > 0, span, 1.0)
    hue = torch.zeros_like(value)
    hue = torch.where(value == blue, 4 + (red - green) / divisor, hue)
    hue = torch.where(value == green, 2 + (blue - red) / divisor, hue)
    hue = torch.where(value == red, (green - blue) / divisor, hue)
    saturation = torch.where(span > 0, span / torch.where(value > 0, value, 1.0), 0.0)
    return (hue / 6) % 1.0, saturation, value


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of :func:`_hsv`: each channel is value - value saturation ramp(hue)."""
    channels = []
    for offset in (5, 3, 1):
        k = (offset + 6 * hue) % 6
        ramp = torch.minimum(k, 4 - k).clamp(0, 1)
        channels.append(value - value * saturation * ramp)
    return torch.stack(channels)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur by a two-dimensional kernel of a tenth of the image, at least 20 pixels."""
    # The odd number next to a tenth: 51 and 103 for 512 and 1024.
    tenths = (math.ceil(side / 10) for side in images.shape[-2:])
    rows, columns = (tenth - 1 + tenth % 2 for tenth in tenths)
    kernels = []
    for length in (rows, columns):
        distance = torch.arange(length, device=images.device, dtype=images.dtype) - length // 2
        weights = torch.exp(-(distance**2) / (2 * sigma**2))
        kernels.append(weights / weights.sum())
    kernel = torch.outer(*kernels).expand(3, 1, rows, columns)
    margins = (columns // 2, columns // 2, rows // 2, rows // 2)
    return functional.conv2d(functional.pad(images, margins, mode="reflect"), kernel, groups=3)


# Teacher and losses (Tranheden & Olsson, 2.5 and 3.2) --------------------------------------------


@torch.no_grad()
def follow(
    teacher: nn.Module, student: nn.Module, step: int, decay: float, *, buffers: bool
) -> None:
    """theta' <- a theta' + (1 - a) theta, parameter by parameter and buffer by buffer (2.16)."""
    factor = min(1 - 1 / (step + 1), decay)
    for own, other in zip(teacher.parameters(), student.parameters(), strict=True):
        own.copy_(factor * own + (1 - factor) * other)
    if not buffers:
        return
    for kept, given in zip(teacher.buffers(), student.buffers(), strict=True):
        if kept.is_floating_point():
            kept.copy_(factor * kept + (1 - factor) * given)
        else:
            kept.copy_(given)


def pseudo_labels(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and confidences from the softmax of logits."""
    probabilities = torch.softmax(logits, dim=1)
    confidence, labels = torch.max(probabilities, dim=1)
    return labels, confidence


def supervised_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the labeled pixels: minus the logarithm of the softmax."""
    known = labels != IGNORE
    chosen = _log_probability(logits, labels.where(known, 0))
    return -(chosen * known).sum() / known.sum()


def consistency_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over all pixels of weight times cross-entropy; no label is ignored."""
    return -(_log_probability(logits, labels) * weights).mean()


def _log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    logarithms = torch.log_softmax(logits, dim=1)
    return logarithms.gather(1, labels.unsqueeze(1)).squeeze(1)


def proportional_weights(confidence: Tensor, threshold: float) -> Tensor:
    """Every pixel weighs as much as the share of confident pixels of the batch (2.15)."""
    share = (confidence > threshold).sum() / confidence.numel()
    return share * torch.ones_like(confidence)


# Labels and scores -------------------------------------------------------------------------------


def encoded(raw: NDArray[np.uint8], train_ids: Mapping[int, int]) -> NDArray[np.uint8]:
    """Raw ids to train ids, one pass over the picture for each id; what has none is 255."""
    label = np.full(raw.shape, IGNORE, dtype=np.uint8)
    for old, new in train_ids.items():
        label[raw == old] = new
    return label


def class_counts(prediction: Tensor, label: Tensor, num_classes: int) -> list[tuple[int, int, int]]:
    """True positives, false positives and false negatives of each class of one image."""
    known = label != IGNORE
    counts = []
    for number in range(num_classes):
        predicted, true = (prediction == number) & known, label == number
        hits = int((predicted & true).sum())
        counts.append((hits, int((predicted & ~true).sum()), int((~predicted & true).sum())))
    return counts


def class_iou(counts: Sequence[Sequence[tuple[int, int, int]]]) -> list[float]:
    """TP / (TP + FP + FN) of each class over all images; NaN for a class that is nowhere."""
    scores = []
    for of_class in zip(*counts, strict=True):
        hits, false, missed = (sum(column) for column in zip(*of_class, strict=True))
        union = hits + false + missed
        scores.append(hits / union if union else math.nan)
    return scores
