"""Supervised training on the labelled images alone: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.engine.method import ClassShares, Method, Output, StepRandom, StepResult
from mixseg.engine.teacher import MeanTeacher
from mixseg.ignore import IGNORE
from mixseg.losses import segmentation_cross_entropy
from mixseg.models import SegmentationModel
from mixseg.temperature import tempered


@final
class Supervised(Method):
    """L = L_l.

    The average of the student is kept here too, under the name of teacher though it teaches
    nobody, so that a comparison with semi-supervised training can be made for both networks.
    """

    streams: ClassVar[tuple[str, ...]] = ("labeled",)

    def __init__(
        self,
        student: SegmentationModel,
        settings: Settings,
        shares: ClassShares,
    ) -> None:
        self.student = student
        self.teacher = MeanTeacher(student, settings.teacher.decay)
        self.networks = {"student": student, "teacher": self.teacher.network}
        self.loss = tempered(segmentation_cross_entropy, settings.temperature)

    def step(self, batches: Mapping[str, Batch], step: int, random: StepRandom) -> StepResult:
        """One step of the method; see :class:`mixseg.engine.method.Method`."""
        labeled = batches["labeled"]
        logits = self.student(to_unit_range(labeled.images))
        labels = labeled.labels.long()
        return StepResult(
            losses={"supervised": self.loss(logits, labels)},
            logs={},
            outputs={"labeled": Output(logits, labels != IGNORE, labels)},
        )

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.teacher.follow(step)
