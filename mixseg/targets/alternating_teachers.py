"""Two teachers in turn (Na et al., "Switching temporary teachers for semi-supervised semantic
segmentation").
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from torch import Tensor

from mixseg.config.values import Share, Steps
from mixseg.models import SegmentationModel
from mixseg.registry import TEACHERS
from mixseg.targets.mean_teacher import MeanTeacher
from mixseg.targets.teacher import Teacher


@TEACHERS.register("alternating")
@final
class AlternatingTeachers(Teacher):
    """Two averages of the student take turns: one labels and follows, the other rests.

    The first is evaluated and saved as ``teacher``, the other is part of the state.

    Args:
        student: The network to copy and follow.
        decay: Upper limit of the averaging factor of both (alpha).
        mode: Batch norm of a teacher while it labels: train normalizes with the statistics of its
            batch, eval with the averaged ones.
        turn: Steps after which the other takes over; an epoch in the paper.
    """

    def __init__(
        self,
        student: SegmentationModel,
        decay: Share = 0.99,
        mode: Literal["train", "eval"] = "train",
        turn: Steps = 500,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self.pair = [MeanTeacher(student, decay, mode) for _ in range(2)]
        self.turn = turn
        self.step = torch.zeros((), dtype=torch.int64)  # on the host, which decides by it
        self.networks = {"teacher": self.pair[0].network}
        second = self.pair[1].network.state_dict()
        own = {"turn": self.step} | {f"second.{key}": one for key, one in second.items()}
        self.state = {**self.state, **own}

    @property
    def active(self) -> MeanTeacher:
        """The one whose turn it is."""
        return self.pair[int(self.step) // self.turn % 2]

    def logits(self, images: Tensor) -> Tensor:
        """See :meth:`Teacher.logits`."""
        return self.active.logits(images)

    def follow(self, step: int) -> None:
        """See :meth:`Teacher.follow`."""
        rounds, place = divmod(step, 2 * self.turn)
        self.active.follow(rounds * self.turn + place % self.turn)  # as many as it has followed
        self.step.fill_(step + 1)
        if step + 1 == self.turn:  # the other begins where the student is
            self.pair[1].follow(0)
