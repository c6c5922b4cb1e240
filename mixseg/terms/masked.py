"""Masked image consistency (MIC; Hoyer et al., 2023): the student completes what is hidden."""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import Tensor

from mixseg.augmentation import Augmentation
from mixseg.config.values import Range, Share, Weight
from mixseg.distributed import own_shard, world
from mixseg.mixing.blocks import block_mask
from mixseg.registry import TERMS
from mixseg.terms.term import StepData, Term


@TERMS.register("masked")
@final
class Masked(Term):
    """L_M = mean(w CE(f(M x), y)) of an augmented image x of which a part of the blocks is hidden.

    Pseudo-labels y and weights w are those of the image as the teacher saw it. Hidden blocks have
    the mean color, which is zero to the network.

    Args:
        augment: Strong augmentation of the images, as that of the other views.
        weight: Factor of the loss (lambda_M); 0 leaves it out.
        block: Side of a block in pixels; the size of a patch hides tokens of a transformer.
        ratio: Share of the blocks that is hidden (r).
    """

    def __init__(
        self,
        augment: Augmentation,
        weight: Weight = 1.0,
        block: Annotated[int, Range(1, 4096)] = 64,
        ratio: Share = 0.7,
    ) -> None:
        self.augment = augment
        self.weight = weight
        self.block = block
        self.ratio = ratio

    def __call__(self, step: StepData) -> Tensor:
        """See :meth:`Term.__call__`."""
        assert step.unlabeled is not None and step.loss is not None
        images = self.augment(step.unlabeled.images, step.random.host)
        batch, _, height, width = images.shape
        shown = own_shard(
            block_mask(
                world().size * batch,
                height,
                width,
                self.block,
                self.ratio,
                step.random.device,
                images.device,
            )
        )
        mean = step.student.normalisation.mean.to(images.dtype)
        images = torch.where(shown.unsqueeze(1), images, mean)
        return step.loss(step.student(images), step.unlabeled)
