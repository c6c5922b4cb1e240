"""Supervised training on the labeled images alone: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, final

from torch import Tensor

from mixseg.config.options import At, NeedsStream, TakesStream
from mixseg.config.values import Weight
from mixseg.data.streams import Batch
from mixseg.errors import ConfigError
from mixseg.methods.labeled import LabeledMix, plain, supervised_term, target_term
from mixseg.methods.method import Backward, Loss, Method
from mixseg.models import SegmentationModel
from mixseg.randomness import StepRandom
from mixseg.registry import METHODS
from mixseg.targets import Average
from mixseg.terms import StepData, Term, states_of


@METHODS.register("supervised")
@final
class Supervised(Method):
    """L = L_l, and of a few labeled target images next to a source L_l + w L_t.

    A moving average of the student is kept, as a semi-supervised run has one.

    Args:
        labeled_target: Part of the target's training split whose labels are used next to the
            source, as data.labeled: a fraction, a number, full, a list file, a pair of list files
            joined by a comma, or FILE.pkl@1/8; by default none.
        target_weight: Factor w of the loss of labeled target images.
    """

    streams: tuple[str, ...] = ("labeled",)
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
        labeled_target: Annotated[
            str | None, TakesStream("target"), At("data.labeled_target")
        ] = None,
        target_weight: Annotated[
            Weight, NeedsStream("target"), At("supervised_loss.target_weight")
        ] = 1.0,
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
        self.target_weight = target_weight
        if labeled_target:
            self.streams = ("labeled", "target")
        self.networks = {"student": student, "average": average.network}
        self.state = states_of(self.terms)

    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> dict[str, Tensor]:
        """L_l, L_t where there are such images, then terms; see :class:`Method`."""
        labeled = self.labeled_mix(batch["labeled"], rng)
        backward(*supervised_term(self.supervised_loss, self.student(labeled.images), labeled))
        if "target" in self.streams:
            # The images of each domain are mixed with each other.
            target = self.labeled_mix(batch["target"], rng)
            logits = self.student(target.images)
            backward(*target_term(self.supervised_loss, self.target_weight, logits, target))
        seen = StepData(self.student, labeled.images, labeled.targets, rng)
        for name, term in self.terms.items():
            backward({name: term.weight * term(seen)})
        return {}

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.average.follow(step)
