"""Supervised training on the labeled images alone: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from mixseg.data.streams import Batch
from mixseg.errors import ConfigError
from mixseg.methods.labeled import LabeledMix, plain, supervised_term
from mixseg.methods.method import Backward, Loss, Method
from mixseg.models import SegmentationModel
from mixseg.randomness import StepRandom
from mixseg.registry import METHODS
from mixseg.targets import Average
from mixseg.terms import StepData, Term, states_of


@METHODS.register("supervised")
@final
class Supervised(Method):
    """L = L_l, and further terms. An average of the student is kept, as other runs have one."""

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
        terms: Mapping[str, Term] | None = None,
    ) -> None:
        for name, term in (terms or {}).items():
            if term.needs_unlabeled:
                raise ConfigError(
                    f"terms: {name} needs unlabeled images, and method supervised has none"
                )
        self.student = student
        self.supervised_loss = supervised_loss
        self.average = average
        self.labeled_mix = labeled_mix
        self.terms = {name: term for name, term in (terms or {}).items() if term.weight}
        self.networks = {"student": student, "average": average.network}
        self.state = states_of(self.terms)

    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> dict[str, Tensor]:
        """L_l, then terms; see :class:`Method`."""
        labeled = self.labeled_mix(batch["labeled"], rng)
        backward(*supervised_term(self.supervised_loss, self.student(labeled.images), labeled))
        seen = StepData(self.student, labeled.images, labeled.targets, rng)
        for name, term in self.terms.items():
            backward({name: term.weight * term(seen)})
        return {}

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.average.follow(step)
