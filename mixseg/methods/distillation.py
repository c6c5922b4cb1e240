"""Distillation: a student learns from labels and from the answers of a trained network (Karlı)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from torch import Tensor

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.engine.method import Given, Method, Output, StepRandom, StepResult
from mixseg.engine.student import asked_by
from mixseg.engine.teacher import MeanTeacher
from mixseg.errors import ConfigError
from mixseg.losses import distillation_divergence, located_mean, pairwise_difference
from mixseg.methods.labeled_loss import LabeledLoss
from mixseg.models import Answer, SegmentationModel
from mixseg.temperature import class_maps, tempered


@final
class Distillation(Method):
    """L = alpha T^2 KL(teacher || student) + (1 - alpha) L_l, and what is added to it by option.

    The average of the student is kept as in supervised training. It is the ``teacher`` among the
    networks of the run; the one that is learnt from is not among them.
    """

    streams: tuple[str, ...] = ("labeled", "unlabeled")

    def __init__(self, student: SegmentationModel, settings: Settings, given: Given) -> None:
        if given.teacher is None:
            raise ConfigError("method distillation needs a teacher to learn from")
        self.student, self.ask = student, asked_by(student)
        self.expert = given.teacher
        self.average = MeanTeacher(student, settings.teacher.decay)
        self.networks = {"student": student, "teacher": self.average.network}
        self.streams = self.streams_of(settings)
        self.options = settings.distillation
        self.divergence = tempered(distillation_divergence, settings.temperature)
        self.softness = settings.adversarial.temperature_d
        self.labeled_loss = LabeledLoss(settings, student.spec.num_classes, given)

    @classmethod
    def streams_of(cls, settings: Settings) -> tuple[str, ...]:
        """Unlabelled images by option."""
        return ("labeled", "unlabeled") if settings.distillation.unlabeled else ("labeled",)

    def parts(
        self, batches: Mapping[str, Batch], step: int, random: StepRandom
    ) -> Iterator[StepResult]:
        """A step: labelled images, then the others; see :class:`mixseg.engine.method.Method`."""
        options = self.options
        asked = self.labeled_loss.mix(batches["labeled"], random)
        expert, own = self.expert.answer(asked.images), self.ask(asked.images)
        supervised, output = self.labeled_loss.of(own.logits, asked)
        learnt_on = asked.valid if options.ignored else asked.counted
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
            expert, own = self.expert.answer(images), self.ask(images)
            distilled = options.alpha * self.distilled(own, expert, valid)
            losses = {"unlabeled": options.unlabeled * distilled}
            yield StepResult(losses, {}, outputs={"unlabeled": Output(own.logits, valid)})

    def distilled(self, own: Answer, expert: Answer, counted: Tensor) -> Tensor:
        """Mean of T^2 KL over the pixels that count, bool (B, H, W)."""
        divergence = self.divergence(own.logits, expert.logits, self.options.temperature)
        return located_mean(divergence, counted)

    def for_discriminator(self, output: Output, expert: Answer) -> Output:
        """Holistic distillation (Liu et al., 3.3): what counts as real is the expert's map.

        As soft as the student's, or the discriminator could tell them apart by that alone.
        """
        if not self.options.holistic:
            return output
        return output._replace(labels=class_maps(expert.logits, output.counted, self.softness))

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.average.follow(step)
