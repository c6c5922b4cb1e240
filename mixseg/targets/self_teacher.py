"""The student as its own teacher, as in UniMatch (Yang et al., 2023)."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from mixseg.config.values import Share
from mixseg.models import SegmentationModel
from mixseg.registry import TEACHERS
from mixseg.targets.average import Average
from mixseg.targets.teacher import Teacher


@TEACHERS.register("self")
@final
class SelfTeacher(Teacher):
    """The student labels, in evaluation mode.

    An average of it is kept all the same, as in supervised training: columns of comparisons then
    mean the same.

    Args:
        student: The network that labels.
        decay: Upper limit of the averaging factor of the average, which labels nothing.
    """

    def __init__(self, student: SegmentationModel, decay: Share = 0.99, **parts: Any) -> None:
        super().__init__(**parts)
        self.student = student
        self.average = Average(student, decay)
        self.networks = {"average": self.average.network}

    def logits(self, images: Tensor) -> Tensor:
        """See :meth:`Teacher.logits`."""
        self.student.eval()
        logits: Tensor = self.student(images)
        self.student.train()
        # Copies of the weights that autocast has made here have no gradient: the passes of the
        # student must not find them.
        torch.clear_autocast_cache()
        return logits

    def follow(self, step: int) -> None:
        """The average follows; see :meth:`Teacher.follow`."""
        self.average.follow(step)
