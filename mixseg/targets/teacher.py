"""The interface of a teacher, which labels images for the student (Tranheden & Olsson, 2.5.5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from mixseg.config.options import ByRun
from mixseg.models import SegmentationModel
from mixseg.targets.alignment import DistributionAlignment
from mixseg.targets.pseudo_labels import PseudoLabels, most_probable, pseudo_labels


class Teacher(ABC):
    """Labels images for the student.

    Args:
        temperature: Logits are divided by it before the softmax.
        align: Brings pseudo-labels closer to a class distribution.
        flip: Label by the mean of the probabilities of an image and of its mirror image.

    Attributes:
        networks: Name -> network that follows the student; evaluated and saved.
        state: Name -> further tensor that a resumed run needs; written in place.
    """

    networks: Mapping[str, SegmentationModel]
    state: Mapping[str, Tensor]

    def __init__(
        self,
        temperature: Annotated[float, ByRun()] = 1.0,
        align: DistributionAlignment | None = None,
        *,
        flip: bool = False,
    ) -> None:
        self.temperature = temperature
        self.align = align
        self.flip = flip
        self.state = {} if align is None else align.state

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C, H, W), called without gradient, of images as :meth:`label` takes them."""

    @abstractmethod
    def follow(self, step: int) -> None:
        """Called after the student has been updated in a step, counted from 0."""

    @torch.no_grad()
    def label(self, images: Tensor, valid: Tensor, *, probabilities: bool = False) -> PseudoLabels:
        """The pseudo-labels of images; collective with an alignment.

        Args:
            images: float RGB in [0, 1], shape (B, 3, H, W).
            valid: bool, shape (B, H, W): false where padding shows.
            probabilities: Whether the whole distributions are returned too.
        """
        if not (probabilities or self.flip) and self.align is None:
            return most_probable(self._tempered(images), valid)
        whole = functional.softmax(self._tempered(images).float(), dim=1)
        if self.flip:
            mirrored = functional.softmax(self._tempered(images.flip(-1)).float(), dim=1)
            whole = (whole + mirrored.flip(-1)) / 2
        if self.align is not None:
            whole = self.align(whole, valid)
        found = pseudo_labels(whole, valid)
        return found if probabilities else found._replace(probabilities=None)

    def _tempered(self, images: Tensor) -> Tensor:
        logits = self.logits(images)
        return logits if self.temperature == 1 else logits.float() / self.temperature
