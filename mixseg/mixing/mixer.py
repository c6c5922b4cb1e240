"""The mixer contract, and the paste (Tranheden & Olsson, equation 2.10, Algorithm 1)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mixseg.mixing.segments import segments


class Mixer(ABC):
    """Decides which pixels of each image are kept and which are taken from its partner.

    The partner of image b is image b + 1 modulo the batch size, so an image that is alone in its
    batch is its own partner and stays as it is.

    Attributes:
        instances: Whether it draws among the instances of labeled images.
    """

    instances: bool = False

    @abstractmethod
    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """One mask per image.

        Args:
            labels: int64, shape (B, H, W): train ids, 255 = ignore.
            generator: On the device of ``labels``; all randomness comes from it.

        Returns:
            bool, shape (B, H, W): true keeps the pixel of image b, false takes its partner's.
        """

    def mask_of_labeled(
        self, labels: Tensor, instances: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """:meth:`mask` of images with ground truth, by instances if they are known and asked for.

        Args:
            labels: int64, shape (B, H, W): train ids, 255 = ignore.
            instances: As :func:`mixseg.mixing.segments` takes them.
            generator: As for :meth:`mask`.
        """
        return self.mask(segments(labels, instances if self.instances else None), generator)

    def mix(
        self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mixed images (B, C, H, W), mixed labels (B, H, W), and the masks.

        Without a generator, one with a random seed is used.
        """
        if generator is None:
            generator = torch.Generator(labels.device)
            generator.seed()
        mask = self.mask(labels, generator)
        return with_partner(mask, images), with_partner(mask, labels), mask


def paste(mask: Tensor, own: Tensor, partner: Tensor) -> Tensor:
    """``own`` where the mask (B, H, W) is true, ``partner`` elsewhere (2.10).

    Both are images or distributions (B, C, H, W), or labels or weights (B, H, W), of one dtype.
    Floating-point values have to be finite.
    """
    chosen = mask if own.dim() == mask.dim() else mask.unsqueeze(1)
    if own.is_floating_point():
        # Exact at 0 and 1, and on CPUs four times as fast as torch.where.
        return torch.lerp(partner, own, chosen.to(own.dtype))
    return torch.where(chosen, own, partner)


def with_partner(mask: Tensor, batch: Tensor) -> Tensor:
    """Mix each element of a batch with the next one; the last with the first."""
    return paste(mask, batch, batch.roll(-1, dims=0))
