"""Distillation: a student learns from labels and from the outputs of a trained network (Karlı)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from torch import Tensor

from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.losses import located_mean, pairwise_difference
from mixseg.methods.labeled import LabeledMix, plain, supervised_term
from mixseg.methods.method import Backward, Loss, Method, StepRandom, StreamOutput
from mixseg.models import FixedTeacher, SegmentationModel
from mixseg.targets import Average
from mixseg.temperature import class_maps


@final
class Distillation(Method):
    """L = alpha T^2 KL(teacher || student) + (1 - alpha) L_l, and what is added to it by option.

    A moving average of the student is kept as in supervised training.
    """

    def __init__(
        self,
        student: SegmentationModel,
        *,
        teacher: FixedTeacher,
        supervised_loss: Loss,
        divergence: Callable[[Tensor, Tensor], Tensor],
        average: Average[SegmentationModel],
        labeled_mix: LabeledMix = plain,
        alpha: float = 0.9,
        ignored: bool = False,
        unlabeled: float = 0.0,
        pairwise: float = 0.0,
        map_temperature: float | None = None,
    ) -> None:
        """Compose the method.

        Args:
            student: On its device already.
            teacher: The trained network, on the same device.
            supervised_loss: L_l.
            divergence: (logits of the student, of the teacher) -> T^2 KL, shape (B, H, W).
            average: Of the student.
            labeled_mix: How labeled images are mixed with each other.
            alpha: Share of the distillation loss.
            ignored: Whether pixels without a label are learned from too.
            unlabeled: Weight of the loss on unlabeled images, times alpha; 0 takes none.
            pairwise: Weight of the difference between the similarities of places in the features.
            map_temperature: For holistic distillation (Liu et al., 3.3): a regularizer takes the
                teacher's maps at this temperature for real ones; None: it takes the labels.
        """
        self.student = student
        self.teacher = teacher
        self.supervised_loss = supervised_loss
        self.divergence = divergence
        self.average = average
        self.labeled_mix = labeled_mix
        self.alpha = alpha
        self.ignored = ignored
        self.unlabeled = unlabeled
        self.pairwise = pairwise
        self.map_temperature = map_temperature
        self.networks = {"student": student, "average": average.network}
        self.streams = ("labeled", "unlabeled") if unlabeled else ("labeled",)

    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> dict[str, Tensor]:
        """Labeled images, then unlabeled ones by option; see :class:`Method`."""
        labeled = self.labeled_mix(batch["labeled"], rng)
        taught = self.teacher.forward_with_features(labeled.images)
        own = self.student.forward_with_features(labeled.images)
        losses, outputs = supervised_term(self.supervised_loss, own.logits, labeled)
        learned_on = labeled.valid if self.ignored else labeled.counted
        losses["supervised"] = (1 - self.alpha) * losses["supervised"]
        losses["distillation"] = self.alpha * located_mean(
            self.divergence(own.logits, taught.logits), learned_on
        )
        if self.pairwise:
            difference = pairwise_difference(own.features, taught.features)
            losses["pairwise"] = self.pairwise * difference
        if self.map_temperature is not None:
            real = class_maps(taught.logits, labeled.counted, self.map_temperature)
            outputs["labeled"] = outputs["labeled"]._replace(labels=real)
        backward(losses, outputs)

        if self.unlabeled:
            images, valid = to_unit_range(batch["unlabeled"].images), batch["unlabeled"].valid
            target, logits = self.teacher(images), self.student(images)
            distilled = self.alpha * located_mean(self.divergence(logits, target), valid)
            output = StreamOutput(logits, valid)
            backward({"unlabeled": self.unlabeled * distilled}, {"unlabeled": output})
        return {}

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.average.follow(step)
