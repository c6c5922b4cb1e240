"""The step that semi-supervised training and domain adaptation share (Tranheden & Olsson, 3.2)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.data.strong_augmentation import StrongAugmentation
from mixseg.data.transforms import to_unit_range
from mixseg.distributed import gathered, own_shard
from mixseg.engine.method import (
    Method,
    MethodInputs,
    StepRandom,
    StepResult,
    StreamOutput,
    merged,
    whole_batch,
)
from mixseg.engine.student import data_parallel
from mixseg.engine.teacher import MeanTeacher
from mixseg.errors import ConfigError
from mixseg.losses import build_consistency
from mixseg.methods.labeled_loss import LabeledLoss
from mixseg.mixing import build_mixer, with_partner
from mixseg.models import SegmentationModel
from mixseg.targets import (
    DistributionAlignment,
    PseudoLabels,
    build_weighting,
    class_shares,
    confident_fraction,
    most_probable,
    pseudo_labels,
)
from mixseg.temperature import tempered


class MixedBatch(NamedTuple):
    """Mixed images, and the targets of the student on them.

    Attributes:
        images: float in [0, 1], shape (B, 3, H, W), not yet augmented.
        targets: int64 labels (B, H, W) with 255 = ignore, or float distributions (B, C, H, W).
        weights: float32, shape (B, H, W).
        confident_share: Share of confident pixels, of any shape.
        valid: bool, shape (B, H, W): false where padding shows.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    confident_share: Tensor
    valid: Tensor


class MixedConsistency(Method):
    """L = L_l + lambda_u L_u (3.1): the student agrees with the teacher on mixed images.

    What is mixed with what is left to :meth:`mix`.
    """

    streams = ("labeled", "unlabeled")
    mixes_unlabeled = True

    def __init__(
        self,
        student: SegmentationModel,
        settings: Settings,
        inputs: MethodInputs,
    ) -> None:
        self.student, self.student_forward = student, data_parallel(student)
        teacher, temperature = settings.teacher, settings.temperature
        self.teacher = MeanTeacher(
            student, teacher.decay, teacher.mode, teacher.buffers, temperature
        )
        self.networks = {"student": student, "teacher": self.teacher.network}
        self.num_classes = student.spec.num_classes
        self.mixing = settings.mixing
        self.mixer = build_mixer(settings.mixing, self.num_classes)
        self.weighting = build_weighting(settings.targets)
        self.labeled_loss = LabeledLoss(settings, self.num_classes, inputs)
        self.consistency = tempered(build_consistency(settings.targets), temperature)
        self.augment = StrongAugmentation(settings.augmentation)
        self.targets = settings.targets
        self.joint_forward = settings.model.joint_forward
        self.align: DistributionAlignment | None = None
        if inputs.target_distribution is not None:
            self.align = DistributionAlignment(
                inputs.target_distribution, settings.targets.alignment_decay
            )
            self.state = {"wanted": self.align.distribution, "aligned": self.align.running}

    def loss_terms(
        self, batches: Mapping[str, Batch], step: int, random: StepRandom
    ) -> Iterator[StepResult]:
        """L_l, then lambda_u L_u; see :class:`mixseg.engine.method.Method`."""
        # x_l, y_l; x_u
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]

        # L_l = loss(f(x_l), y_l), with the student f; x_l may be mixed with each other first
        supervised = self.labeled_loss.mix(labeled, random)
        if not self.joint_forward:
            # Without a name of its own: what a name holds stays in memory during the rest.
            yield self.labeled_loss.term(self.student_forward(supervised.images).logits, supervised)

        # y_u = argmax f'(x_u), with the teacher f'.
        # Of several processes each then mixes the whole batch, since what is random is drawn for
        # all of it and partners may lie in another shard; it goes on with its own shard.
        teacher_labels = gathered_pseudo_labels(self.pseudo_label(unlabeled))
        shares = class_shares(teacher_labels.labels, self.num_classes)

        # x_m, y_m, w_m: images, targets and weights, mixed with the same masks
        mixed = self.mix(labeled, whole_batch(unlabeled), teacher_labels, step, random)
        augmented = self.augment(own_shard(mixed.images), random.host)

        # L_u = mean(w_m loss(f(x_m), y_m))
        if not self.joint_forward:
            logits = self.student_forward(augmented).logits
            yield self.consistency_term(logits, mixed, shares)
            return

        # model.joint_forward: f of x_l and x_m at once
        logits = self.student_forward(joint_batch(supervised.images, augmented)).logits
        on_labeled, on_mixed = torch.split(logits, [len(supervised.images), len(augmented)])
        yield merged(
            [
                self.labeled_loss.term(on_labeled, supervised),
                self.consistency_term(on_mixed, mixed, shares),
            ]
        )

    def pseudo_label(self, unlabeled: Batch) -> PseudoLabels:
        """The teacher's pseudo-labels; with probabilities only where targets or alignment take
        them."""
        images, valid = to_unit_range(unlabeled.images), unlabeled.valid
        if self.targets.kind == "hard" and self.align is None:
            return most_probable(self.teacher.logits(images), valid)
        probabilities = self.teacher.probabilities(images)
        if self.align is not None:
            probabilities = self.align(probabilities, valid)
        return pseudo_labels(probabilities, valid)

    @abstractmethod
    def mix(
        self,
        labeled: Batch,
        unlabeled: Batch,
        teacher_labels: PseudoLabels,
        step: int,
        random: StepRandom,
    ) -> MixedBatch:
        """Mix images, targets and weights with the same masks.

        Args:
            labeled: This process's shard of the labelled batch; ``whole_batch`` gives the rest.
            unlabeled: The whole unlabelled batch, of all processes.
            teacher_labels: Its pseudo-labels.
            step: Number of the step, from 0.
            random: Generators of the step.
        """

    def mix_unlabeled(
        self, unlabeled: Batch, teacher_labels: PseudoLabels, step: int, random: StepRandom
    ) -> MixedBatch:
        """Mix each unlabelled image with the next; masks come from pseudo-labels (Algorithm 1)."""
        # Padding is never pasted: where the kept image has none of its own, its partner stays.
        mask = self.mixer.mask(teacher_labels.labels, random.device) & unlabeled.valid
        confidence = with_partner(mask, teacher_labels.confidence)
        valid = with_partner(mask, unlabeled.valid)
        return MixedBatch(
            images=with_partner(mask, to_unit_range(unlabeled.images)),
            targets=with_partner(mask, teacher_labels.targets(self.targets.kind)),
            weights=self.weighting(confidence, valid, step) * valid,
            confident_share=self.confident_share(confidence, valid),
            valid=valid,
        )

    def confident_share(self, confidence: Tensor, valid: Tensor) -> Tensor:
        """The share of the batch above the threshold, whatever the weighting makes of it."""
        return confident_fraction(confidence, valid, self.targets.threshold, per="batch")

    def consistency_term(self, logits: Tensor, mixed: MixedBatch, shares: Tensor) -> StepResult:
        """lambda_u L_u of logits (B, C, H, W).

        Args:
            logits: Of this process's shard of the mixed images.
            mixed: The whole batch.
            shares: Of the classes in the pseudo-labels, shape (C,).
        """
        targets, weights, valid = map(own_shard, (mixed.targets, mixed.weights, mixed.valid))
        consistency = self.consistency(logits, targets, weights)
        return StepResult(
            losses={"consistency": self.targets.unsupervised_weight * consistency},
            logs={"confident": mixed.confident_share.mean(), "weight": mixed.weights.mean()},
            pseudo_labels=shares,
            outputs={"unlabeled": StreamOutput(logits, valid)},
        )

    def after_update(self, step: int) -> None:
        """The teacher follows the student."""
        self.teacher.follow(step)


def gathered_pseudo_labels(own: PseudoLabels) -> PseudoLabels:
    """The pseudo-labels of the whole batch out of the shards of all processes."""
    soft = own.probabilities
    probabilities = None if soft is None else gathered(soft)
    return PseudoLabels(gathered(own.labels), gathered(own.confidence), probabilities)


def joint_batch(labeled: Tensor, mixed: Tensor) -> Tensor:
    """Labelled and mixed images (B, 3, H, W) as one batch.

    Raises:
        ConfigError: They differ in size.
    """
    if labeled.shape[1:] != mixed.shape[1:]:
        sizes = " and ".join("x".join(map(str, one.shape[-2:])) for one in (labeled, mixed))
        raise ConfigError(
            f"model.joint_forward: labelled and unlabelled images differ in size ({sizes}) and "
            "cannot be one batch; set data.crop, or switch it off"
        )
    return torch.cat((labeled, mixed))
