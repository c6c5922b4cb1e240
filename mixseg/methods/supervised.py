"""Supervised training on the labelled images alone: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.engine.method import Method, MethodInputs, StepRandom, StepResult
from mixseg.engine.student import data_parallel
from mixseg.engine.teacher import MeanTeacher
from mixseg.methods.labeled_loss import LabeledLoss
from mixseg.models import SegmentationModel


@final
class Supervised(Method):
    """L = L_l.

    The moving average of the student is kept here too, named teacher although no pseudo-labels come
    from it, so that both networks can be compared with those of semi-supervised training.
    """

    streams = ("labeled",)

    def __init__(
        self,
        student: SegmentationModel,
        settings: Settings,
        inputs: MethodInputs,
    ) -> None:
        self.student, self.student_forward = student, data_parallel(student)
        self.teacher = MeanTeacher(student, settings.teacher.decay)
        self.networks = {"student": student, "teacher": self.teacher.network}
        self.labeled_loss = LabeledLoss(settings, student.spec.num_classes, inputs)

    def loss_terms(
        self, batches: Mapping[str, Batch], step: int, random: StepRandom
    ) -> Iterator[StepResult]:
        """L_l alone; see :class:`mixseg.engine.method.Method`."""
        labeled = self.labeled_loss.mix(batches["labeled"], random)
        yield self.labeled_loss.term(self.student_forward(labeled.images).logits, labeled)

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.teacher.follow(step)
