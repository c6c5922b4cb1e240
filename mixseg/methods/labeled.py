"""Labeled images for the supervised loss: as they are, or mixed with each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

from torch import Tensor

from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.distributed import own_shard
from mixseg.ignore import IGNORE, one_hot
from mixseg.methods.method import Loss, StreamOutput, whole_batch
from mixseg.mixing import Mixer, Mixup, with_partner
from mixseg.randomness import StepRandom


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


LabeledMix = Callable[[Batch, StepRandom], LabeledImages]
"""This process's shard of the labeled batch -> its shard of the images for the student."""


def plain(labeled: Batch, rng: StepRandom) -> LabeledImages:
    """Images as they are."""
    labels = labeled.labels.long()
    return LabeledImages(to_unit_range(labeled.images), labels, labels != IGNORE, labeled.valid)


@final
class Pasted:
    """Pastes parts of each image, with their labels, on the next one."""

    def __init__(self, mixer: Mixer) -> None:
        self.mixer = mixer

    def __call__(self, labeled: Batch, rng: StepRandom) -> LabeledImages:
        """See :data:`LabeledMix`."""
        whole = whole_batch(labeled)
        images, labels, _, valid = plain(whole, rng)
        # Padding is never pasted.
        mask = self.mixer.mask_of_labeled(labels, whole.instances, rng.device) & valid
        images, labels, valid = (with_partner(mask, one) for one in (images, labels, valid))
        return LabeledImages(*map(own_shard, (images, labels, labels != IGNORE, valid)))


@final
class MixedUp:
    """Takes a weighted mean of each image and the next; pixels ignored in one are ignored."""

    def __init__(self, mixup: Mixup, num_classes: int) -> None:
        self.mixup = mixup
        self.num_classes = num_classes

    def __call__(self, labeled: Batch, rng: StepRandom) -> LabeledImages:
        """See :data:`LabeledMix`."""
        images, labels, known, valid = plain(whole_batch(labeled), rng)
        share = self.mixup.shares(len(images), rng.host)
        counted = known & known.roll(-1, dims=0)
        targets = self.mixup.mix(share, one_hot(labels, self.num_classes)) * counted.unsqueeze(1)
        valid = valid & valid.roll(-1, dims=0)
        images = self.mixup.mix(share, images)
        return LabeledImages(*map(own_shard, (images, targets, counted, valid)))


def target_term(
    loss: Loss, weight: float, logits: Tensor, labeled: LabeledImages
) -> tuple[dict[str, Tensor], dict[str, StreamOutput]]:
    """w L_t of labeled target images next to a source, as :func:`supervised_term`."""
    losses, outputs = supervised_term(loss, logits, labeled)
    return {"supervised_target": weight * losses["supervised"]}, {"target": outputs["labeled"]}


def supervised_term(
    loss: Loss, logits: Tensor, labeled: LabeledImages
) -> tuple[dict[str, Tensor], dict[str, StreamOutput]]:
    """L_l of logits (B, C, H, W), and the output for regularizers, as ``backward`` takes them."""
    output = StreamOutput(logits, labeled.counted, labeled.targets)
    return {"supervised": loss(logits, labeled.targets)}, {"labeled": output}
