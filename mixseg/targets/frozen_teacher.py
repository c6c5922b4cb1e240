"""A trained network as the teacher, never updated."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from mixseg.config.values import Share
from mixseg.models import FixedTeacher, SegmentationModel
from mixseg.registry import TEACHERS
from mixseg.targets.average import Average
from mixseg.targets.teacher import Teacher


@TEACHERS.register("frozen")
@final
class FrozenTeacher(Teacher):
    """The network that ``distillation.teacher`` names labels.

    An average of the student is kept all the same, as in supervised training: columns of
    comparisons then mean the same.

    Args:
        student: The network that learns.
        trained_teacher: On the same device.
        decay: Upper limit of the averaging factor of the average, which labels nothing.
    """

    def __init__(
        self,
        student: SegmentationModel,
        trained_teacher: FixedTeacher,
        decay: Share = 0.99,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.trained = trained_teacher
        self.average = Average(student, decay)
        self.networks = {"average": self.average.network}

    def logits(self, images: Tensor) -> Tensor:
        """See :meth:`Teacher.logits`."""
        logits: Tensor = self.trained(images)
        return logits

    def follow(self, step: int) -> None:
        """The average follows; see :meth:`Teacher.follow`."""
        self.average.follow(step)
