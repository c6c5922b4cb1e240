"""A random number of random intensity operations on each image (AugSeg, Zhao et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, final

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as tv

from mixseg.augmentation.per_image import blurred_each
from mixseg.augmentation.strong import hue_shifted
from mixseg.config.values import Range
from mixseg.distributed import own_shard, world
from mixseg.registry import AUGMENTATIONS

Operation = Callable[[Tensor, Tensor], Tensor]
"""(images in [0, 1] (B, 3, H, W), strength of each (B,) on the CPU) -> images in [0, 1]."""


@AUGMENTATIONS.register("randaugment")
@final
class RandAugment:
    """One to ``operations`` of :data:`OPERATIONS` after each other, drawn for each image.

    Their number, which they are, with repetitions, and how strong each is are uniform.
    """

    def __init__(self, operations: Annotated[int, Range(1, 16)] = 3) -> None:
        """Args: operations: Largest number of intensity operations on an image."""
        self.operations = operations

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment this process's shard of a batch; see :data:`Augmentation`."""
        shape = (world().size * len(images), self.operations)
        count = own_shard(torch.randint(1, 1 + self.operations, shape[:1], generator=generator))
        chosen = own_shard(torch.randint(len(OPERATIONS), shape, generator=generator))
        draws = own_shard(torch.rand(shape, generator=generator))
        images = images.clone()
        for place in range(self.operations):
            for number, (low, high, operation) in enumerate(OPERATIONS.values()):
                # Which images have this operation here is known on the CPU.
                rows = ((chosen[:, place] == number) & (place < count)).nonzero().flatten()
                if len(rows) > 0:
                    places = rows.to(images.device, non_blocking=True)
                    strength = low + (high - low) * draws[rows, place]
                    changed = operation(images.index_select(0, places), strength)
                    images.index_copy_(0, places, changed)
        return images


def _each(strength: Tensor, images: Tensor) -> Tensor:
    return strength.to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1, 1)


def identity(images: Tensor, strength: Tensor) -> Tensor:
    """The images as they are."""
    return images


def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Each channel stretched to [0, 1]; one of a single value stays."""
    low, high = (one(dim=(2, 3), keepdim=True) for one in (images.amin, images.amax))
    span = high - low
    stretched = (images - low) / span.clamp(min=torch.finfo(span.dtype).tiny)
    return torch.where(span > 0, stretched, images)


def equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Each channel with a uniform histogram, in 256 levels."""
    equalized: Tensor = tv.equalize(images)
    return equalized


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """As many of the first bits of 8, the strength rounded down; the others are 0."""
    levels = (255 * images).round()
    return (levels - levels.remainder(_each(2 ** (8 - strength.floor()), images))) / 255


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Values from a threshold on are inverted; the strength is the threshold in levels of 255."""
    return torch.where(255 * images >= _each(strength, images), 1 - images, images)


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Between smoothed by 3x3 pixels, of which the middle counts five times, at 0 and itself at 1.

    Pixels of the border stay as they are.
    """
    if min(images.shape[-2:]) < 3:
        return images
    inner = images[..., 1:-1, 1:-1]
    smooth = (9 * functional.avg_pool2d(images, 3, stride=1) + 4 * inner) / 13
    result = images.clone()
    result[..., 1:-1, 1:-1] = torch.lerp(smooth, inner, _each(strength, images))
    return result


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Between black at 0 and itself at 1."""
    return images * _each(strength, images)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Between its mean gray at 0 and itself at 1."""
    mean = tv.rgb_to_grayscale(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _each(strength, images))


def color(images: Tensor, strength: Tensor) -> Tensor:
    """Between gray at 0 and itself at 1."""
    return torch.lerp(tv.rgb_to_grayscale(images), images, _each(strength, images))


def hue(images: Tensor, strength: Tensor) -> Tensor:
    """Hue turned by a share of the circle, of either sign."""
    return hue_shifted(images, _each(strength, images).squeeze(1))


OPERATIONS: dict[str, tuple[float, float, Operation]] = {
    "identity": (0, 0, identity),
    "autocontrast": (0, 0, autocontrast),
    "equalize": (0, 0, equalize),
    "blur": (0.1, 2, blurred_each),
    "contrast": (0.05, 0.95, contrast),
    "brightness": (0.05, 0.95, brightness),
    "color": (0.05, 0.95, color),
    "sharpness": (0.05, 0.95, sharpness),
    "posterize": (4, 8, posterize),
    "solarize": (1, 255, solarize),
    "hue": (-0.5, 0.5, hue),
}
"""Name -> range of the strength, which is uniform in it without its upper end, and the operation.

Operations and ranges are those of AugSeg's published code."""
