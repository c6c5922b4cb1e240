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
from mixseg.distributed import gathered, own_part
from mixseg.engine.method import (
    Given,
    Method,
    Output,
    StepRandom,
    StepResult,
    whole_batch,
    whole_result,
)
from mixseg.engine.student import asked_by
from mixseg.engine.teacher import MeanTeacher
from mixseg.errors import ConfigError
from mixseg.losses import build_consistency
from mixseg.methods.labeled_loss import LabeledLoss
from mixseg.mixing import build_mixer
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


def all_answers(answer: PseudoLabels) -> PseudoLabels:
    """What the teachers of all processes say."""
    soft = answer.probabilities
    whole = None if soft is None else gathered(soft)
    return PseudoLabels(gathered(answer.labels), gathered(answer.confidence), whole)


def one_batch(labeled: Tensor, mixed: Tensor) -> Tensor:
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
        self.joint_forward = settings.model.joint_forward
        self.align: DistributionAlignment | None = None
        if given.wanted is not None:
            self.align = DistributionAlignment(given.wanted, settings.targets.alignment_decay)
            self.state = {"wanted": self.align.distribution, "aligned": self.align.running}

    def parts(
        self, batches: Mapping[str, Batch], step: int, random: StepRandom
    ) -> Iterator[StepResult]:
        """A step: labelled images, then mixed ones; see :class:`mixseg.engine.method.Method`."""
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]
        asked = self.labeled_loss.mix(labeled, random)
        if not self.joint_forward:
            yield self.labeled_loss.result(self.ask(asked.images).logits, asked)

        # Of several processes each mixes the whole batch, as what is random is drawn for all of it
        # and partners may lie in another process; then it goes on with its own part.
        answers = all_answers(self.answer(unlabeled))
        mixed = self.mix(labeled, whole_batch(unlabeled), answers, step, random)
        shares = class_shares(answers.labels, self.num_classes)
        images = self.augment(own_part(mixed.images), random.host)
        if not self.joint_forward:
            yield self.on_mixed(self.ask(images).logits, mixed, shares)
            return
        logits = self.ask(one_batch(asked.images, images)).logits
        first, second = torch.split(logits, [len(asked.images), len(images)])
        yield whole_result(
            [self.labeled_loss.result(first, asked), self.on_mixed(second, mixed, shares)]
        )

    def answer(self, unlabeled: Batch) -> PseudoLabels:
        """What the teacher says about unlabelled images, as far as it is asked for."""
        images, valid = to_unit_range(unlabeled.images), unlabeled.valid
        if self.targets.kind == "hard" and self.align is None:
            return most_probable(self.teacher.logits(images), valid)
        probabilities = self.teacher.probabilities(images)
        if self.align is not None:
            probabilities = self.align(probabilities, valid)
        return pseudo_labels(probabilities, valid)

    def on_mixed(self, logits: Tensor, mixed: Mixed, shares: Tensor) -> StepResult:
        """lambda_u L_u of logits (B, C, H, W).

        Args:
            logits: Of this process's part of the mixed images.
            mixed: The whole batch.
            shares: Of the classes in the pseudo-labels, shape (C,).
        """
        targets, weights, valid = map(own_part, (mixed.targets, mixed.weights, mixed.valid))
        consistency = self.consistency(logits, targets, weights)
        return StepResult(
            losses={"consistency": self.targets.unsupervised_weight * consistency},
            logs={"confident": mixed.confident.mean(), "weight": mixed.weights.mean()},
            pseudo_labels=shares,
            outputs={"unlabeled": Output(logits, valid)},
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
            labeled: This process's part of the labelled batch; ``whole_batch`` gives the rest.
            unlabeled: The whole unlabelled batch, of all processes.
            answer: What the teacher says about it.
            step: Number of the step, from 0.
            random: Generators of the step.
        """

    def confident(self, confidence: Tensor, valid: Tensor) -> Tensor:
        """The share of the batch above the threshold, whatever the weighting makes of it."""
        return confident_fraction(confidence, valid, self.targets.threshold, per="batch")

    def after_update(self, step: int) -> None:
        """The teacher follows the student."""
        self.teacher.follow(step)
