"""Supervised training on the labeled images alone: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from mixseg.data.streams import Batch
from mixseg.methods.labeled import LabeledMix, plain, supervised_term
from mixseg.methods.method import Backward, Loss, Method, StepRandom
from mixseg.models import SegmentationModel
from mixseg.registry import METHODS
from mixseg.targets import Average


@METHODS.register("supervised")
@final
class Supervised(Method):
    """L = L_l. A moving average of the student is kept, as a semi-supervised run has one."""

    streams = ("labeled",)
    command = "supervised"
    baseline = True
    source_domain = "allowed"

    def __init__(
        self,
        student: SegmentationModel,
        *,
        supervised_loss: Loss,
        average: Average[SegmentationModel],
        labeled_mix: LabeledMix = plain,
    ) -> None:
        self.student = student
        self.supervised_loss = supervised_loss
        self.average = average
        self.labeled_mix = labeled_mix
        self.networks = {"student": student, "average": average.network}

    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> dict[str, Tensor]:
        """L_l alone; see :class:`Method`."""
        labeled = self.labeled_mix(batch["labeled"], rng)
        backward(*supervised_term(self.supervised_loss, self.student(labeled.images), labeled))
        return {}

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.average.follow(step)
