"""Distillation: a student learns from labels and from the outputs of a trained network (Karlı)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from torch import Tensor

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.engine.method import Method, MethodInputs, StepRandom, StepResult, StreamOutput
from mixseg.engine.student import data_parallel
from mixseg.engine.teacher import MeanTeacher
from mixseg.errors import ConfigError
from mixseg.losses import distillation_divergence, located_mean, pairwise_difference
from mixseg.methods.labeled_loss import LabeledLoss
from mixseg.models import ModelOutput, SegmentationModel
from mixseg.temperature import class_maps, tempered


@final
class Distillation(Method):
    """L = alpha T^2 KL(teacher || student) + (1 - alpha) L_l, and what is added to it by option.

    The moving average of the student is kept as in supervised training: it is the ``teacher`` among
    the networks of the run. The network that is distilled (``expert``) is not among them.
    """

    streams: tuple[str, ...] = ("labeled", "unlabeled")

    def __init__(
        self, student: SegmentationModel, settings: Settings, inputs: MethodInputs
    ) -> None:
        if inputs.teacher is None:
            raise ConfigError("method distillation needs a teacher to learn from")
        self.student, self.student_forward = student, data_parallel(student)
        self.expert = inputs.teacher
        self.average = MeanTeacher(student, settings.teacher.decay)
        self.networks = {"student": student, "teacher": self.average.network}
        self.streams = self.streams_of(settings)
        self.options = settings.distillation
        self.divergence = tempered(distillation_divergence, settings.temperature)
        self.softness = settings.adversarial.temperature_d
        self.labeled_loss = LabeledLoss(settings, student.spec.num_classes, inputs)

    @classmethod
    def streams_of(cls, settings: Settings) -> tuple[str, ...]:
        """Unlabelled images by option."""
        return ("labeled", "unlabeled") if settings.distillation.unlabeled else ("labeled",)

    def loss_terms(
        self, batches: Mapping[str, Batch], step: int, random: StepRandom
    ) -> Iterator[StepResult]:
        """The terms of labelled images, then those of unlabelled ones; see :class:`Method`."""
        options = self.options
        labeled = self.labeled_loss.mix(batches["labeled"], random)
        expert = self.expert.forward_with_features(labeled.images)
        own = self.student_forward(labeled.images)
        supervised, output = self.labeled_loss.loss_and_output(own.logits, labeled)
        learnt_on = labeled.valid if options.ignored else labeled.counted
        losses = {
            "supervised": (1 - options.alpha) * supervised,
            "distillation": options.alpha * self.distilled(own, expert, learnt_on),
        }
        if options.pairwise:
            difference = pairwise_difference(own.features, expert.features)
            losses["pairwise"] = options.pairwise * difference
        yield StepResult(losses, {}, outputs={"labeled": self.for_discriminator(output, expert)})

        if options.unlabeled:
            images, valid = to_unit_range(batches["unlabeled"].images), batches["unlabeled"].valid
            expert = self.expert.forward_with_features(images)
            own = self.student_forward(images)
            distilled = options.alpha * self.distilled(own, expert, valid)
            losses = {"unlabeled": options.unlabeled * distilled}
            yield StepResult(losses, {}, outputs={"unlabeled": StreamOutput(own.logits, valid)})

    def distilled(self, own: ModelOutput, expert: ModelOutput, counted: Tensor) -> Tensor:
        """Mean of T^2 KL over the pixels that count, bool (B, H, W)."""
        divergence = self.divergence(own.logits, expert.logits, self.options.temperature)
        return located_mean(divergence, counted)

    def for_discriminator(self, output: StreamOutput, expert: ModelOutput) -> StreamOutput:
        """Holistic distillation (Liu et al., 3.3): what counts as real is the expert's map.

        As soft as the student's, or the discriminator could tell them apart by that alone.
        """
        if not self.options.holistic:
            return output
        return output._replace(labels=class_maps(expert.logits, output.counted, self.softness))

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.average.follow(step)
