"""The mean teacher (Tarvainen & Valpola): the average of the student labels."""

from __future__ import annotations

from typing import Any, Literal, final

from torch import Tensor

from mixseg.config.values import Share
from mixseg.errors import ConfigError
from mixseg.models import SegmentationModel
from mixseg.registry import TEACHERS
from mixseg.targets.average import Average
from mixseg.targets.teacher import Teacher


@TEACHERS.register("mean")
@final
class MeanTeacher(Teacher):
    """The average of the student labels (Tranheden & Olsson, 2.5.5).

    Args:
        student: The network to copy and follow.
        decay: Upper limit of the averaging factor (alpha).
        mode: Batch norm of the teacher while it labels: train normalizes with the statistics of its
            batch, as the published code does, eval with the averaged ones.
        buffers: Batch-norm statistics: averaged like the weights, or the teacher's own running ones
            as in the published code.

    Raises:
        ConfigError: ``buffers`` own in mode eval, in which nothing would update them.
    """

    def __init__(
        self,
        student: SegmentationModel,
        decay: Share = 0.99,
        mode: Literal["train", "eval"] = "train",
        buffers: Literal["average", "own"] = "average",
        **parts: Any,
    ) -> None:
        if mode == "eval" and buffers == "own":
            raise ConfigError(
                "teacher.buffers own needs teacher.mode train: in eval mode nothing would update "
                "them. With teacher.mode eval set teacher.buffers to average"
            )
        super().__init__(**parts)
        self.average = Average(student, decay, buffers)
        self.network = self.average.network
        self.network.train(mode == "train")
        self.networks = {"teacher": self.network}

    def logits(self, images: Tensor) -> Tensor:
        """See :meth:`Teacher.logits`."""
        logits: Tensor = self.network(images)
        return logits

    def follow(self, step: int) -> None:
        """Move towards the student; see :class:`mixseg.targets.Average`."""
        self.average.follow(step)
