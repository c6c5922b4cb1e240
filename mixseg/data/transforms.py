"""Paired augmentation of image and label: resize, scale, rotation, crop with padding, flip.

Geometry is always applied to image, label and validity mask together, so that they stay aligned.
All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from mixseg.config.values import Size
from mixseg.ignore import IGNORE

Interpolation = Literal["bilinear", "bicubic"]
"""How images are resized, with antialiasing; labels take the nearest pixel."""


class Example(NamedTuple):
    """An image with its label, as tensors.

    Attributes:
        image: uint8, shape (3, H, W), RGB.
        label: uint8, shape (H, W), 255 = ignore; all 255 where there is no label.
        valid: bool, shape (H, W): false outside of the image, where a crop padded it or a rotation
            turned its corners in.
        instances: int32, shape (H, W): the thing that a pixel belongs to, 0 = none; None where it
            is not asked for.
    """

    image: Tensor
    label: Tensor
    valid: Tensor
    instances: Tensor | None = None

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Example:
        """The function of each part that is there."""
        return Example(*(None if part is None else function(part) for part in self))  # type: ignore[arg-type]


class Wanted(NamedTuple):
    """A class that a random crop should show.

    Attributes:
        train_id: The class.
        pixels: How many of its pixels are enough.
        share: Share of its pixels in the whole image that is enough where those are fewer.
        retries: Most further places that are tried; the one with most of its pixels is taken.
    """

    train_id: int
    pixels: float
    share: float
    retries: int


@final
@dataclass(frozen=True)
class PairedTransform:
    """The weak augmentation of a training image.

    Attributes:
        resize: Height and width of every image before the other steps.
        scale: Range of a random factor of the size.
        scale_step: Step of this factor from the lower end of its range; None draws any value.
        interpolation: How the image is resized.
        rotate: Largest angle in degrees; the image is rotated about its center by an angle that is
            uniform in [-rotate, rotate]. 0 draws no angle.
        crop: Height and width of a random crop; a smaller image is padded.
        padding: Around the image, at random, or at its end: on the right and at the bottom.
        flip: Mirror left to right with probability 1/2.
        fill: RGB outside of the image: the mean of the normalization, which is zero to the model.
    """

    resize: Size | None = None
    scale: tuple[float, float] | None = None
    scale_step: float | None = None
    interpolation: Interpolation = "bilinear"
    rotate: float = 0.0
    crop: Size | None = None
    padding: Literal["around", "end"] = "around"
    flip: bool = False
    fill: tuple[int, int, int] = (0, 0, 0)

    @property
    def target(self) -> Size | None:
        """Largest size that an image is resized to; None where it depends on the image."""
        largest = 1.0 if self.scale is None else self.scale[1]
        return None if self.resize is None else _scaled(self.resize, largest)

    def __call__(
        self, example: Example, generator: torch.Generator, wanted: Wanted | None = None
    ) -> Example:
        """Augment one example; the same generator state gives the same result.

        With ``resize`` the image may be smaller than its label: it was read for :attr:`target`. A
        crop is placed so that it shows what is ``wanted``, if that succeeds.
        """
        size = self.resize or (example.image.shape[-2], example.image.shape[-1])
        if self.scale is not None:
            size = _scaled(size, self._factor(*self.scale, generator))
        example = resized(example, size, self.interpolation)
        if self.rotate:
            angle = _uniform(-self.rotate, self.rotate, generator)
            example = rotated(example, angle, self.fill)
        if self.crop is not None:
            example = self._cropped(example, self.crop, generator, wanted)
        if self.flip and _uniform(0, 1, generator) < 0.5:
            example = example.mapped(tv.horizontal_flip)
        return example

    def _factor(self, low: float, high: float, generator: torch.Generator) -> float:
        if self.scale_step is None:
            return _uniform(low, high, generator)
        # Steps that end at the upper end may miss it by a rounding error.
        steps = int((high - low) / self.scale_step + 1e-6)
        return low + self.scale_step * _integer(steps, generator)

    def _cropped(
        self, example: Example, crop: Size, generator: torch.Generator, wanted: Wanted | None
    ) -> Example:
        height, width = example.image.shape[-2:]
        missing_height, missing_width = max(0, crop[0] - height), max(0, crop[1] - width)
        if missing_height or missing_width:
            # The image lies at a random place in its padding, as a crop lies at one in the image.
            around = self.padding == "around"
            top = _integer(missing_height, generator) if around else 0
            left = _integer(missing_width, generator) if around else 0
            padding = [left, top, missing_width - left, missing_height - top]
            example = Example(
                tv.pad(example.image, padding, fill=[float(value) for value in self.fill]),
                tv.pad(example.label.unsqueeze(0), padding, fill=IGNORE).squeeze(0),
                tv.pad(example.valid.unsqueeze(0), padding, fill=0).squeeze(0),
                example.instances
                if example.instances is None
                else tv.pad(example.instances.unsqueeze(0), padding, fill=0).squeeze(0),
            )
            height, width = example.image.shape[-2:]

        def place() -> tuple[int, int]:
            return _integer(height - crop[0], generator), _integer(width - crop[1], generator)

        chosen = place()
        if wanted is not None:
            shown = example.label == wanted.train_id

            def pixels(at: tuple[int, int]) -> int:
                return int(tv.crop(shown, *at, *crop).sum())

            there, most = int(shown.sum()), pixels(chosen)
            enough = min(wanted.pixels, wanted.share * there, there, crop[0] * crop[1])
            for _ in range(wanted.retries):
                if most >= enough:
                    break
                found = pixels(other := place())
                if found > most:
                    chosen, most = other, found
        return example.mapped(lambda part: tv.crop(part, *chosen, *crop))


def resized(example: Example, size: Size, interpolation: Interpolation = "bilinear") -> Example:
    """Resize the image with antialiasing, label and mask nearest, each from its own size."""
    image, label, valid, instances = example
    if image.shape[-2:] != size:
        image = resized_image(image, size, interpolation)
    if label.shape != size:
        label = resized_ids(label, size)
    if valid.shape != size:
        if valid.all():  # an image as it was read
            valid = torch.ones(size, dtype=torch.bool)
        else:
            valid = resized_ids(valid.to(torch.uint8), size).bool()
    if instances is not None and instances.shape != size:
        instances = resized_ids(instances, size)
    return Example(image, label, valid, instances)


def resized_image(image: Tensor, size: Size, interpolation: Interpolation = "bilinear") -> Tensor:
    """Resize an image, uint8, shape (3, H, W), with antialiasing."""
    mode = InterpolationMode(interpolation)
    resized: Tensor = tv.resize(image, list(size), interpolation=mode, antialias=True)
    return resized


def resized_ids(ids: Tensor, size: Size) -> Tensor:
    """Resize a map of ids, uint8 or int32 below 2^24, shape (H, W), to the nearest pixels."""
    nearest = InterpolationMode.NEAREST_EXACT
    resized: Tensor = tv.resize(ids.unsqueeze(0), list(size), interpolation=nearest).squeeze(0)
    return resized


def rotated(example: Example, angle: float, fill: tuple[int, int, int]) -> Example:
    """Rotate an example about its center, counter-clockwise in degrees; its size stays.

    The image is rotated bilinear, label and mask nearest. Pixels from outside of the image get the
    RGB color ``fill`` and label 255, and are not valid.
    """
    # Edges are repeated once, so that pixels on the border are not blended with black.
    image = tv.pad(example.image, [1, 1, 1, 1], padding_mode="edge")
    image = tv.rotate(image, angle, interpolation=InterpolationMode.BILINEAR)[..., 1:-1, 1:-1]
    label, valid = tv.rotate(
        torch.stack([example.label, example.valid.to(torch.uint8)]),
        angle,
        interpolation=InterpolationMode.NEAREST,
        fill=[float(IGNORE), 0.0],
    )
    outside = torch.tensor(fill, dtype=torch.uint8).view(3, 1, 1)
    instances = example.instances
    if instances is not None:
        instances = tv.rotate(
            instances.unsqueeze(0), angle, interpolation=InterpolationMode.NEAREST, fill=[0.0]
        ).squeeze(0)
    return Example(image.where(valid.bool(), outside), label, valid.bool(), instances)


def _scaled(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(largest: int, generator: torch.Generator) -> int:
    return int(torch.randint(largest + 1, (), generator=generator))


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 images to float32 in [0, 1], for models and strong augmentation."""
    return images.to(torch.float32).div_(255)
