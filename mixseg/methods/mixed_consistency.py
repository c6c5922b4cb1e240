"""The step that semi-supervised training and domain adaptation share (002, 3.2)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.data.strong_augmentation import StrongAugmentation
from mixseg.data.transforms import to_unit_range
from mixseg.distributed import gathered, own_part
from mixseg.engine.method import Given, Method, Output, StepRandom, StepResult, whole_batch
from mixseg.engine.student import asked_by
from mixseg.engine.teacher import MeanTeacher
from mixseg.losses import build_consistency
from mixseg.methods.labeled_loss import LabeledLoss
from mixseg.mixing import build_mixer
from mixseg.models import SegmentationModel
from mixseg.targets import (
    Alignment,
    DistributionAlignment,
    PseudoLabels,
    build_weighting,
    class_shares,
    confident_fraction,
    pseudo_labels,
    unaligned,
)
from mixseg.temperature import tempered


class Mixed(NamedTuple):
    """What the student is asked, and what it should answer.

    Attributes:
        images: float in [0, 1], shape (B, 3, H, W), not yet augmented.
        targets: int64 labels (B, H, W) with 255 = ignore, or float distributions (B, C, H, W).
        weights: float32, shape (B, H, W).
        confident: Share of confident pixels, of any shape.
        valid: bool, shape (B, H, W): false where padding shows.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    confident: Tensor
    valid: Tensor


def own_mixed(whole: Mixed) -> Mixed:
    """The part of this process of a mixed whole batch; the share of confident pixels is of all."""
    return Mixed(
        own_part(whole.images),
        own_part(whole.targets),
        own_part(whole.weights),
        whole.confident,
        own_part(whole.valid),
    )


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
        given: Given,
    ) -> None:
        self.student, self.ask = student, asked_by(student)
        teacher, temperature = settings.teacher, settings.temperature
        self.teacher = MeanTeacher(
            student, teacher.decay, teacher.mode, teacher.buffers, temperature
        )
        self.networks = {"student": student, "teacher": self.teacher.network}
        self.num_classes = student.spec.num_classes
        self.mixing = settings.mixing
        self.mixer = build_mixer(settings.mixing, self.num_classes)
        self.weighting = build_weighting(settings.targets)
        self.labeled_loss = LabeledLoss(settings, self.num_classes, given)
        self.consistency = tempered(build_consistency(settings.targets), temperature)
        self.augment = StrongAugmentation(settings.augmentation)
        self.targets = settings.targets
        self.align: Alignment = unaligned
        if given.wanted is not None:
            alignment = DistributionAlignment(given.wanted, settings.targets.alignment_decay)
            self.align = alignment
            self.state = {"wanted": alignment.distribution, "aligned": alignment.running}

    def step(self, batches: Mapping[str, Batch], step: int, random: StepRandom) -> StepResult:
        """One step of the method; see :class:`mixseg.engine.method.Method`."""
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]

        supervised, labeled_output = self.labeled_loss(self.ask, labeled, random)

        probabilities = self.teacher.probabilities(to_unit_range(unlabeled.images))
        answer = pseudo_labels(self.align(probabilities, unlabeled.valid), unlabeled.valid)

        # Of several processes each mixes the whole batch, as what is random is drawn for all of it
        # and partners may lie in another process; then it goes on with its own part.
        answers = self.all_answers(answer)
        whole = self.mix(whole_batch(labeled), whole_batch(unlabeled), answers, step, random)
        mixed = own_mixed(whole)
        mixed_logits = self.ask(self.augment(mixed.images, random.host)).logits
        consistency = self.consistency(mixed_logits, mixed.targets, mixed.weights)

        return StepResult(
            losses={
                "supervised": supervised,
                "consistency": self.targets.unsupervised_weight * consistency,
            },
            logs={"confident": whole.confident.mean(), "weight": whole.weights.mean()},
            pseudo_labels=class_shares(answers.labels, self.num_classes),
            outputs={
                "labeled": labeled_output,
                "unlabeled": Output(mixed_logits, mixed.valid),
            },
        )

    def all_answers(self, answer: PseudoLabels) -> PseudoLabels:
        """What the teachers of all processes say, as far as it is asked for."""
        soft = self.targets.kind == "soft"
        return PseudoLabels(
            gathered(answer.labels),
            gathered(answer.confidence),
            gathered(answer.probabilities) if soft else answer.probabilities,
        )

    @abstractmethod
    def mix(
        self,
        labeled: Batch,
        unlabeled: Batch,
        answer: PseudoLabels,
        step: int,
        random: StepRandom,
    ) -> Mixed:
        """Mix images, targets and weights with the same masks.

        Args:
            labeled: Labelled batch.
            unlabeled: Unlabelled batch.
            answer: What the teacher says about the unlabelled batch.
            step: Number of the step, from 0.
            random: Generators of the step.
        """

    def confident(self, confidence: Tensor, valid: Tensor) -> Tensor:
        """The share of the batch above the threshold, whatever the weighting makes of it."""
        return confident_fraction(confidence, valid, self.targets.threshold, per="batch")

    def after_update(self, step: int) -> None:
        """The teacher follows the student."""
        self.teacher.follow(step)
