"""The supervised part of every method: L_l on labelled images, mixed with each other or not."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, final

from torch import Tensor

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.distributed import own_shard
from mixseg.engine.method import MethodInputs, StepRandom, StepResult, StreamOutput, whole_batch
from mixseg.ignore import IGNORE, one_hot
from mixseg.losses import build_loss
from mixseg.mixing import MIXUP, build_mixer, mixup, mixup_shares, with_partner
from mixseg.temperature import tempered


class LabeledImages(NamedTuple):
    """Images with their ground truth.

    Attributes:
        images: float in [0, 1], shape (B, 3, H, W).
        targets: int64 labels (B, H, W) with 255 = ignore, or float distributions (B, C, H, W) that
            are zero where a pixel is ignored.
        counted: bool, shape (B, H, W): pixels that have a label.
        valid: bool, shape (B, H, W): false where padding shows.
    """

    images: Tensor
    targets: Tensor
    counted: Tensor
    valid: Tensor


@final
class LabeledLoss:
    """The loss that the settings name, on images that are mixed as the settings say."""

    def __init__(self, settings: Settings, num_classes: int, inputs: MethodInputs) -> None:
        """Build from the settings of a run and its class frequencies."""
        self.loss = tempered(
            build_loss(settings.supervised_loss, inputs.class_frequencies), settings.temperature
        )
        self.alpha = settings.mixing.alpha
        self.num_classes = num_classes
        named = dataclasses.replace(settings.mixing, mixer=settings.mixing.labeled)
        self.mix = {"none": plain, MIXUP: self.mixed_up}.get(named.mixer, self.pasted)
        if self.mix == self.pasted:
            self.mixer = build_mixer(named, num_classes)

    def loss_and_output(
        self, logits: Tensor, labeled: LabeledImages
    ) -> tuple[Tensor, StreamOutput]:
        """L_l of logits (B, C, H, W), and logits and targets as regularizers take them."""
        output = StreamOutput(logits, labeled.counted, labeled.targets)
        return self.loss(logits, labeled.targets), output

    def term(self, logits: Tensor, labeled: LabeledImages) -> StepResult:
        """L_l of logits (B, C, H, W) as a loss term of the step."""
        loss, output = self.loss_and_output(logits, labeled)
        return StepResult(losses={"supervised": loss}, logs={}, outputs={"labeled": output})

    def pasted(self, labeled: Batch, random: StepRandom) -> LabeledImages:
        """Parts of each image and its label on the next one."""
        images, labels, _, valid = plain(whole_batch(labeled), random)
        # Padding is never pasted.
        mask = self.mixer.mask(labels, random.device) & valid
        labels = with_partner(mask, labels)
        return own_shard_of(
            with_partner(mask, images), labels, labels != IGNORE, with_partner(mask, valid)
        )

    def mixed_up(self, labeled: Batch, random: StepRandom) -> LabeledImages:
        """Weighted means with the next image; a pixel that is ignored in one is ignored."""
        images, labels, known, valid = plain(whole_batch(labeled), random)
        share = mixup_shares(len(images), self.alpha, random.host)
        counted = known & known.roll(-1, dims=0)
        targets = mixup(share, one_hot(labels, self.num_classes)) * counted.unsqueeze(1)
        return own_shard_of(mixup(share, images), targets, counted, valid & valid.roll(-1, dims=0))


def own_shard_of(images: Tensor, targets: Tensor, counted: Tensor, valid: Tensor) -> LabeledImages:
    """This process's shard of a whole batch."""
    return LabeledImages(*map(own_shard, (images, targets, counted, valid)))


def plain(labeled: Batch, random: StepRandom) -> LabeledImages:
    """Images as they are."""
    labels = labeled.labels.long()
    return LabeledImages(to_unit_range(labeled.images), labels, labels != IGNORE, labeled.valid)
