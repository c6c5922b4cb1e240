"""Semi-supervised training: mean teacher, mixed images (Tranheden & Olsson, 3.2, Figure 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from mixseg.augmentation import Augmentation
from mixseg.config.options import At
from mixseg.config.values import Share, Weight
from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.distributed import own_shard
from mixseg.errors import ConfigError
from mixseg.losses import Consistency
from mixseg.methods.labeled import LabeledMix, plain, supervised_term
from mixseg.methods.method import Backward, Loss, Method, StepRandom, StreamOutput, whole_batch
from mixseg.mixing import Mixer, with_partner
from mixseg.models import SegmentationModel
from mixseg.registry import METHODS
from mixseg.targets import (
    MeanTeacher,
    PseudoLabels,
    Weighting,
    class_shares,
    confident_fraction,
)


class MixedImages(NamedTuple):
    """Mixed images with the student's targets.

    Attributes:
        images: float in [0, 1], shape (B, 3, H, W), not yet augmented.
        targets: int64 labels (B, H, W) with 255 = ignore, or float distributions (B, C, H, W).
        weights: float32, shape (B, H, W).
        valid: bool, shape (B, H, W): false where padding shows.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    valid: Tensor


@METHODS.register("semi_supervised")
class SemiSupervised(Method):
    """L = L_l + lambda_u L_u (3.1): the student agrees with the teacher on mixed images.

    Args:
        student: f, on its device already.
        supervised_loss: (logits, targets) -> L_l.
        teacher: f', the moving average of f, which gives the pseudo-labels.
        mixer: Draws the masks along which images are mixed.
        weighting: w_m, how much each mixed pixel counts.
        consistency: (logits, targets, weights) -> L_u.
        augment: Strong augmentation of the mixed images.
        labeled_mix: Mixes labeled images with each other, or leaves them as they are.
        targets: Pseudo-labels (2.11), or the teacher's whole distributions.
        unsupervised_weight: Factor of the whole consistency loss (lambda_u0).
        threshold: Confidence above which a pixel counts as confident (tau); the log tells how many
            do, whatever the weighting.
        joint_forward: One forward pass of the student for labeled and mixed images together; faster
            with small batches, but batch norm then normalizes over both, and both have to fit into
            memory at once.
    """

    streams: tuple[str, ...] = ("labeled", "unlabeled")
    command = "ssl"

    def __init__(
        self,
        student: SegmentationModel,
        *,
        supervised_loss: Loss,
        teacher: MeanTeacher[SegmentationModel],
        mixer: Mixer,
        weighting: Weighting,
        consistency: Consistency,
        augment: Augmentation,
        labeled_mix: LabeledMix = plain,
        targets: Annotated[Literal["hard", "soft"], At("targets.kind")] = "hard",
        unsupervised_weight: Annotated[Weight, At("targets.unsupervised_weight")] = 1.0,
        threshold: Annotated[Share, At("targets.threshold")] = 0.968,
        joint_forward: Annotated[bool, At("model.joint_forward")] = False,
    ) -> None:
        self.student = student
        self.supervised_loss = supervised_loss
        self.teacher = teacher
        self.mixer = mixer
        self.weighting = weighting
        self.consistency = consistency
        self.augment = augment
        self.labeled_mix = labeled_mix
        self.targets = targets
        self.unsupervised_weight = unsupervised_weight
        self.threshold = threshold
        self.joint_forward = joint_forward
        self.networks = {"student": student, "teacher": teacher.network}
        self.state = {**teacher.state, **weighting.state}

    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> dict[str, Tensor]:
        """L_l, then lambda_u L_u; see :class:`Method`."""
        # L_l = loss(f(x_l), y_l). The logits get no name, which would keep them in memory: their
        # graph is freed in this backward pass.
        labeled = self.labeled_mix(batch["labeled"], rng)
        if not self.joint_forward:
            backward(*supervised_term(self.supervised_loss, self.student(labeled.images), labeled))

        # y_u = argmax f'(x_u), with the confidence max f'(x_u)
        pseudo = self.pseudo_label(batch["unlabeled"])
        # x_m, y_m and w_m: images, pseudo-labels and weights, mixed along the same masks
        mixed, logs = self.mix(batch, pseudo, rng)
        # Only what the student sees is augmented; the targets stay.
        images = self.augment(mixed.images, rng.host)

        # L_u = mean(w_m loss(f(x_m), y_m))
        if self.joint_forward:
            on_labeled, logits = self.both(labeled.images, images)
            losses, outputs = supervised_term(self.supervised_loss, on_labeled, labeled)
        else:
            losses, outputs, logits = {}, {}, self.student(images)
        consistency = self.consistency(logits, mixed.targets, mixed.weights)
        losses["consistency"] = self.unsupervised_weight * consistency
        outputs["unlabeled"] = StreamOutput(logits, mixed.valid)
        backward(losses, outputs)
        return logs

    def pseudo_label(self, unlabeled: Batch) -> PseudoLabels:
        """The teacher's pseudo-labels of the whole batch: this shard's and other processes'."""
        soft = self.targets == "soft" or self.weighting.needs_probabilities
        images = to_unit_range(unlabeled.images)
        return self.teacher.label(images, unlabeled.valid, probabilities=soft).gathered()

    def mix(
        self, batch: Mapping[str, Batch], pseudo: PseudoLabels, rng: StepRandom
    ) -> tuple[MixedImages, dict[str, Tensor]]:
        """Mix each unlabeled image with the next; masks come from pseudo-labels (Algorithm 1).

        Partners may lie in another process's shard: every process mixes the whole batch, and
        returns its own shard of it with the logs of the whole batch.
        """
        unlabeled = whole_batch(batch["unlabeled"])
        # Padding is never pasted: its pixels are the partner's, whatever the mask says.
        mask = self.mixer.mask(pseudo.labels, rng.device) & unlabeled.valid
        images = with_partner(mask, to_unit_range(unlabeled.images))
        valid = with_partner(mask, unlabeled.valid)
        mixed = pseudo.mapped(lambda values: with_partner(mask, values))
        weights = self.weighting(mixed, valid, rng.step) * valid
        logs = self.logged(pseudo, mixed.confidence, valid, weights)
        targets = mixed.targets(self.targets)
        return MixedImages(*map(own_shard, (images, targets, weights, valid))), logs

    def logged(
        self, pseudo: PseudoLabels, confidence: Tensor, valid: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """The share of confident pixels, the mean weight, and the share of each pseudo-label."""
        confident = confident_fraction(confidence, valid, self.threshold, per="batch")
        shares = class_shares(pseudo.labels, self.student.spec.num_classes)
        return {"confident": confident.mean(), "weight": weights.mean(), "pseudo-labels": shares}

    def both(self, labeled: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
        """The student's logits of labeled and mixed images (B, 3, H, W), in one forward pass."""
        if labeled.shape[1:] != mixed.shape[1:]:
            sizes = " and ".join("x".join(map(str, one.shape[-2:])) for one in (labeled, mixed))
            raise ConfigError(
                f"model.joint_forward: labeled and unlabeled images differ in size ({sizes}) and "
                "cannot be one batch; set data.crop, or switch it off"
            )
        logits = self.student(torch.cat((labeled, mixed)))
        on_labeled, on_mixed = torch.split(logits, [len(labeled), len(mixed)])
        return on_labeled, on_mixed

    def after_update(self, step: int) -> None:
        """The teacher follows the student."""
        self.teacher.follow(step)
