"""Paired augmentation of image and label: resize, scale, crop with padding, flip.

Geometry is always applied to image, label and validity mask together, so that they stay aligned.
All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from mixseg.ignore import IGNORE

Size = tuple[int, int]


class Example(NamedTuple):
    """An image with its label, as tensors.

    Attributes:
        image: uint8, shape (3, H, W), RGB.
        label: uint8, shape (H, W), 255 = ignore; all 255 where there is no label.
        valid: bool, shape (H, W): false where the crop had to pad the image.
    """

    image: Tensor
    label: Tensor
    valid: Tensor


@final
@dataclass(frozen=True)
class PairedTransform:
    """The weak augmentation of a training image.

    Attributes:
        resize: Height and width that every image is brought to first.
        scale: Range of a random factor of the size.
        crop: Height and width of a random crop; what it misses is padded.
        flip: Mirror left to right with probability 1/2.
        fill: RGB of padding, the mean of the normalisation, so that padding is zero to the model.
    """

    resize: Size | None = None
    scale: tuple[float, float] | None = None
    crop: Size | None = None
    flip: bool = False
    fill: tuple[int, int, int] = (0, 0, 0)

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """Augment one example; the same generator state gives the same result."""
        size = self.resize or (example.image.shape[-2], example.image.shape[-1])
        if self.scale is not None:
            factor = _uniform(*self.scale, generator)
            size = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
        example = resized(example, size)
        if self.crop is not None:
            example = _cropped(example, self.crop, self.fill, generator)
        if self.flip and _uniform(0, 1, generator) < 0.5:
            example = Example(*(tv.horizontal_flip(part) for part in example))
        return example


def resized(example: Example, size: Size) -> Example:
    """Image bilinear with antialiasing, label and mask nearest."""
    if example.image.shape[-2:] == size:
        return example
    height_width = list(size)
    image = tv.resize(
        example.image, height_width, interpolation=InterpolationMode.BILINEAR, antialias=True
    )
    label, valid = (
        tv.resize(
            part.unsqueeze(0).to(torch.uint8),
            height_width,
            interpolation=InterpolationMode.NEAREST_EXACT,
        ).squeeze(0)
        for part in (example.label, example.valid)
    )
    return Example(image, label, valid.bool())


def _cropped(
    example: Example, crop: Size, fill: tuple[int, int, int], generator: torch.Generator
) -> Example:
    height, width = example.image.shape[-2:]
    missing_height, missing_width = max(0, crop[0] - height), max(0, crop[1] - width)
    if missing_height or missing_width:
        # The image lies at a random place in its padding, as a crop lies at one in the image.
        top = _integer(missing_height, generator)
        left = _integer(missing_width, generator)
        padding = [left, top, missing_width - left, missing_height - top]
        example = Example(
            tv.pad(example.image, padding, fill=[float(value) for value in fill]),
            tv.pad(example.label.unsqueeze(0), padding, fill=IGNORE).squeeze(0),
            tv.pad(example.valid.unsqueeze(0), padding, fill=0).squeeze(0),
        )
        height, width = example.image.shape[-2:]
    top = _integer(height - crop[0], generator)
    left = _integer(width - crop[1], generator)
    return Example(*(tv.crop(part, top, left, *crop) for part in example))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(largest: int, generator: torch.Generator) -> int:
    return int(torch.randint(largest + 1, (), generator=generator))


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 images to float32 in [0, 1]; what models and strong augmentation work on."""
    return images.to(torch.float32).div_(255)
