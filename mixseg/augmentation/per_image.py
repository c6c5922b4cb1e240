"""Color jitter, gray and blur of each image by itself, the strong view of FixMatch and UniMatch.

All numbers are drawn on the CPU, so that nothing waits for the device.
"""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as tv

from mixseg.augmentation.strong import jittered_each
from mixseg.config.values import Range, Share
from mixseg.distributed import own_shard, world
from mixseg.errors import ConfigError
from mixseg.registry import AUGMENTATIONS


@AUGMENTATIONS.register("per-image")
@final
class PerImageAugmentation:
    """Every image draws for itself whether it is jittered, made gray and blurred, and how much.

    The defaults are those of UniMatch (Yang et al. 2023). The order of the four color changes is
    drawn once for the batch.
    """

    def __init__(
        self,
        brightness: Annotated[float, Range(0, 1)] = 0.5,
        contrast: Annotated[float, Range(0, 1)] = 0.5,
        saturation: Annotated[float, Range(0, 1)] = 0.5,
        hue: Annotated[float, Range(0, 0.5)] = 0.25,
        jitter_probability: Share = 0.8,
        gray_probability: Share = 0.2,
        blur_probability: Share = 0.5,
        blur_sigma: Annotated[tuple[float, float], Range(0.01, 16)] = (0.1, 2.0),
    ) -> None:
        """Choose how strong it is.

        Args:
            brightness: Color jitter multiplies an image by a factor in [1 - brightness,
                1 + brightness].
            contrast: Largest change of the factor by which jitter moves pixels from the mean gray.
            saturation: Largest change of the factor by which jitter moves pixels from their gray.
            hue: Largest turn of the hue by jitter, as a share of the circle, either way.
            jitter_probability: Share of images that are jittered.
            gray_probability: Share of images that lose their color.
            blur_probability: Share of images that are blurred.
            blur_sigma: Range of the deviation of the Gaussian blur in pixels, uniform.

        Raises:
            ConfigError: The range of sigma is not in rising order.
        """
        if blur_sigma[0] > blur_sigma[1]:
            raise ConfigError(
                f"augmentation.blur_sigma must be two numbers, low <= high, found {blur_sigma}"
            )
        self.strengths = torch.tensor((brightness, contrast, saturation, hue))
        self.probabilities = torch.tensor((jitter_probability, gray_probability, blur_probability))
        self.blur_sigma = blur_sigma

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment this process's shard of a batch; see :data:`Augmentation`."""
        order = float(torch.rand((), generator=generator))
        draws = own_shard(torch.rand(world().size * len(images), 8, generator=generator))
        shifts = self.strengths * (2 * draws[:, :4] - 1)
        jitters, grays, blurs = (draws[:, 4:7] < self.probabilities).unbind(dim=1)
        low, high = self.blur_sigma
        sigma = low + (high - low) * draws[:, 7]

        jittered = jittered_each(images, "torchvision", shifts, order)
        images = torch.lerp(images, jittered, _as_weights(jitters, images))
        images = torch.lerp(images, tv.rgb_to_grayscale(images), _as_weights(grays, images))
        # A blur costs the most, and is made of those images only that have one.
        rows = blurs.nonzero().flatten()
        if len(rows) == 0:
            return images
        places = rows.to(images.device, non_blocking=True)
        blurred = blurred_each(images.index_select(0, places), sigma[rows])
        return images.index_copy(0, places, blurred)


def _as_weights(chosen: Tensor, images: Tensor) -> Tensor:
    """bool (B,) on the CPU as the 0 and 1 of a lerp, which is exact there: shape (B, 1, 1, 1)."""
    return chosen.to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1, 1)


def blurred_each(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each image by a sigma of its own.

    A kernel ends at four sigma, beyond which lie 6e-5 of its mass, or where the image does. Images
    are mirrored at their border. What becomes of one does not depend on the others.

    Args:
        images: float, shape (B, C, H, W).
        sigma: float, shape (B,), on the CPU: deviations in pixels, above 0.
    """
    sigma = sigma.double().unsqueeze(1)
    # Reflection at the border needs more pixels than the kernel reaches.
    reach = min(math.ceil(4 * float(sigma.max())), min(images.shape[-2:]) - 1)
    steps = torch.arange(reach + 1)
    weights = torch.exp(-0.5 * (steps / sigma).square()) * (steps <= (4 * sigma).ceil())
    weights = weights / (2 * weights.sum(dim=1, keepdim=True) - weights[:, :1])
    # One factor for each image, from the middle of the kernel outwards.
    factors = weights.to(images.device, images.dtype, non_blocking=True).T.reshape(
        reach + 1, -1, 1, 1, 1
    )
    result = functional.pad(images, [reach] * 4, mode="reflect")
    for dim in (-2, -1):
        length = result.shape[dim] - 2 * reach
        total = result.narrow(dim, reach, length) * factors[0]
        for step in range(1, reach + 1):
            for start in (reach - step, reach + step):
                total.addcmul_(result.narrow(dim, start, length), factors[step])
        result = total
    return result
