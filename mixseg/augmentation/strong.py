"""Color jitter and Gaussian blur of a batch of mixed images (Tranheden & Olsson, 3.4).

All numbers are drawn on the CPU, so that nothing waits for the device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Annotated, Literal, final

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as tv

from mixseg.config.options import Needs
from mixseg.config.values import Range, Share
from mixseg.distributed import own_shard, world
from mixseg.registry import AUGMENTATIONS

BLUR_SIGMA = (0.15, 1.15)
"""Range of sigma in pixels."""

Change = Callable[[Tensor, Tensor], Tensor]
"""(images in [0, 1] (B, 3, H, W), shift of each (B, 1, 1, 1)) -> changed images in [0, 1]."""

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""(images, generator) -> augmented images of the same shape.

Images are this process's shard of a batch, float RGB in [0, 1], shape (B, 3, H, W). The generator
is on the CPU and has the same state in all processes.
"""


@AUGMENTATIONS.register("strong")
@final
class StrongAugmentation:
    """Color jitter, then blur, each with its probability."""

    def __init__(
        self,
        color_jitter: Annotated[float, Range(0, 0.5)] = 0.0,
        color_jitter_probability: Annotated[
            Share, Needs("augmentation.color_jitter", help="--augmentation.color_jitter 0.25")
        ] = 0.5,
        color_jitter_form: Annotated[
            Literal["torchvision", "kornia"],
            Needs("augmentation.color_jitter", help="--augmentation.color_jitter 0.25"),
        ] = "torchvision",
        per: Annotated[
            Literal["batch", "image"],
            Needs("augmentation.color_jitter", help="--augmentation.color_jitter 0.25"),
        ] = "batch",
        blur: bool = False,
        blur_probability: Annotated[
            Share, Needs("augmentation.blur", help="--augmentation.blur")
        ] = 0.5,
    ) -> None:
        """Choose how strong it is.

        Args:
            color_jitter: Strength of brightness, contrast, saturation and hue changes; 0 is off,
                the thesis' extra augmentations and the published Cityscapes configurations use
                0.25.
            color_jitter_probability: Share of batches that are jittered; 0.8 in the published code.
            color_jitter_form: torchvision: brightness multiplies, contrast moves from the mean
                gray, saturation from gray. kornia: as kornia 0.3.0 in the published code,
                brightness adds, contrast multiplies, saturation multiplies that of HSV. Hue is
                turned in both.
            per: Color jitter: one draw of the changes for the batch, or one for each image, as in
                the published code. Whether a batch is jittered, and the order of the changes, is
                drawn once.
            blur: Gaussian blur with sigma uniform in [0.15, 1.15].
            blur_probability: Share of batches that are blurred.
        """
        self.color_jitter = color_jitter
        self.color_jitter_probability = color_jitter_probability
        self.color_jitter_form = color_jitter_form
        self.per = per
        self.blur = blur
        self.blur_probability = blur_probability

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment this process's shard of a batch; see :data:`Augmentation`."""
        # All numbers are drawn in any case, so that one switch does not change what another draws.
        numbers = torch.rand(8, generator=generator)
        draws = numbers.tolist()
        each = numbers[1:5].unsqueeze(0)
        if self.per == "image":
            each = own_shard(torch.rand(world().size * len(images), 4, generator=generator))
        if self.color_jitter > 0 and draws[0] < self.color_jitter_probability:
            if self.per == "batch" and self.color_jitter_form == "torchvision":
                images = jittered(images, self.color_jitter, draws[1:5], draws[5])
            else:
                shifts = self.color_jitter * (2 * each - 1)
                images = jittered_each(images, self.color_jitter_form, shifts, draws[5])
        if self.blur and draws[6] < self.blur_probability:
            low, high = BLUR_SIGMA
            images = blurred(images, low + (high - low) * draws[7])
        return images


def jittered(images: Tensor, strength: float, draws: list[float], order: float) -> Tensor:
    """Brightness, contrast, saturation and hue, rotated into one of four orders.

    Args:
        images: float RGB in [0, 1].
        strength: Factors lie in [1 - strength, 1 + strength], the hue shift in
            [-strength, strength] turns.
        draws: Four numbers in [0, 1).
        order: A number in [0, 1) that says which change comes first.
    """
    shifts = [strength * (2 * draw - 1) for draw in draws]
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda batch: tv.adjust_brightness(batch, 1 + shifts[0]),
        lambda batch: tv.adjust_contrast(batch, 1 + shifts[1]),
        lambda batch: tv.adjust_saturation(batch, 1 + shifts[2]),
        lambda batch: hue_shifted(batch, shifts[3]),
    ]
    first = int(order * len(changes))
    for change in changes[first:] + changes[:first]:
        images = change(images)
    return images


def jittered_each(images: Tensor, form: str, shifts: Tensor, order: float) -> Tensor:
    """The four changes of a form, of each image by numbers of its own, in one of 24 orders.

    Args:
        images: float RGB in [0, 1], shape (B, 3, H, W).
        form: A name in :data:`FORMS`.
        shifts: float, shape (B, 4) or (1, 4), on the CPU: how far brightness, contrast and
            saturation go from what changes nothing, and hue in turns.
        order: A number in [0, 1) that says in which order they come.
    """
    moved = shifts.to(images.device, images.dtype, non_blocking=True)
    numbers = moved.view(-1, 4, 1, 1, 1).unbind(dim=1)
    changes = list(zip(FORMS[form], numbers, strict=True))
    orders = list(itertools.permutations(changes))
    for change, shift in orders[int(order * len(orders))]:
        images = change(images, shift)
    return images


def _added(images: Tensor, shift: Tensor) -> Tensor:
    return (images + shift).clamp_(0, 1)


def _multiplied(images: Tensor, shift: Tensor) -> Tensor:
    return (images * (1 + shift)).clamp_(0, 1)


def _from_mean_gray(images: Tensor, shift: Tensor) -> Tensor:
    mean = tv.rgb_to_grayscale(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, 1 + shift).clamp_(0, 1)


def _from_gray(images: Tensor, shift: Tensor) -> Tensor:
    return torch.lerp(tv.rgb_to_grayscale(images), images, 1 + shift).clamp_(0, 1)


def _saturated(images: Tensor, shift: Tensor) -> Tensor:
    """Saturation of HSV times 1 + shift, at most 1: the largest channel stays what it is."""
    largest = images.amax(dim=1, keepdim=True)
    span = largest - images.amin(dim=1, keepdim=True)
    most = largest / span.clamp(min=torch.finfo(span.dtype).tiny)
    return torch.lerp(largest, images, torch.minimum(1 + shift, most)).clamp_(0, 1)


def _turned(images: Tensor, shift: Tensor) -> Tensor:
    return hue_shifted(images, shift.squeeze(1))


FORMS: dict[str, tuple[Change, Change, Change, Change]] = {
    "torchvision": (_multiplied, _from_mean_gray, _from_gray, _turned),
    "kornia": (_added, _multiplied, _saturated, _turned),
}
"""Form -> its changes of brightness, contrast, saturation and hue."""


def hue_shifted(images: Tensor, turns: float | Tensor) -> Tensor:
    """Turn the hue of each pixel; its largest and its smallest channel stay what they are.

    Args:
        images: float RGB in [0, 1], shape (B, 3, H, W); no gradient goes through.
        turns: Share of the circle of hues, of either sign; or that of each image, shape (B, 1, 1).
    """
    result = torch.empty_like(images)
    red, green, blue = images.unbind(dim=1)
    largest = images.amax(dim=1)
    span = largest - images.amin(dim=1)
    # Hue times span, in sixths of the circle with 0 at red, for each channel that may be the
    # largest. Chosen by arithmetic: on CPUs torch.where takes five times as long.
    if_red = green - blue
    if_green = (blue - red).add_(span, alpha=2)
    if_blue = (red - green).add_(span, alpha=4)
    hue = torch.lerp(
        torch.lerp(if_blue, if_green, _one_at_zero_(green - largest)),
        if_red,
        _one_at_zero_(red - largest),
    )
    # Gray has no hue: its differences are 0, and so is what is made of it.
    hue.div_(span.clamp(min=torch.finfo(span.dtype).tiny))
    # A channel falls from the largest to the smallest value in one sixth of the circle, stays
    # there for two, and rises again. ``away`` is the distance from the middle of its low part.
    for channel, middle in zip(result.unbind(dim=1), (3, 5, 1), strict=True):
        away = hue + (6 * turns - middle)
        away.sub_((away / 6).round_(), alpha=6).abs_()
        fall = away.neg_().add_(2).clamp_(0, 1)
        torch.addcmul(largest, span, fall, value=-1, out=channel)
    return result


def _one_at_zero_(values: Tensor) -> Tensor:
    """1 where a value is 0, and 0 elsewhere, in place; no value may be above 0."""
    return values.sign_().add_(1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with a kernel of four sigma to each side; beyond lie 6e-5 of its mass.

    The thesis' kernel of a tenth of the image gives the same picture for more work.
    """
    # Reflection at the border needs more pixels than the kernel reaches.
    reach = min(math.ceil(4 * sigma), min(images.shape[-2:]) - 1)
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(reach + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    weights = [weight / total for weight in weights]
    padded = functional.pad(images, [reach] * 4, mode="reflect")
    return _filtered(_filtered(padded, -2, weights), -1, weights)


def _filtered(images: Tensor, dim: int, weights: list[float]) -> Tensor:
    """A symmetric filter along rows or columns; ``weights[i]`` is that of the i-th neighbors.

    The result is smaller by the reach of the filter on both sides.
    """
    reach = len(weights) - 1
    length = images.shape[dim] - 2 * reach
    # Sums of shifted images: several times as fast on a CPU as a convolution of few channels.
    result = images.narrow(dim, reach, length) * weights[0]
    for step, weight in enumerate(weights[1:], start=1):
        for start in (reach - step, reach + step):
            result.add_(images.narrow(dim, start, length), alpha=weight)
    return result
