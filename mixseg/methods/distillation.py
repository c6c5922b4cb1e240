"""Distillation: a student learns from labels and from the outputs of a trained network (Karlı)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, final

from torch import Tensor

from mixseg.config.options import ByRun, TakesStream
from mixseg.config.values import Share, Temperature, Weight
from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.errors import ConfigError
from mixseg.losses import distillation_divergence, located_mean, pairwise_difference
from mixseg.losses.temperature import class_maps, tempered
from mixseg.methods.labeled import LabeledMix, plain, supervised_term
from mixseg.methods.method import Backward, Loss, Method, StreamOutput
from mixseg.models import FixedTeacher, SegmentationModel
from mixseg.randomness import StepRandom
from mixseg.registry import METHODS
from mixseg.targets import Average


@METHODS.register("distillation")
@final
class Distillation(Method):
    """L = alpha T^2 KL(teacher || student) + (1 - alpha) L_l, and more terms by option.

    A moving average of the student is kept, as in supervised training.

    Args:
        student: On its device already.
        trained_teacher: On the same device; never updated.
        supervised_loss: (logits, targets) -> L_l.
        average: The moving average of the student.
        labeled_mix: Mixes labeled images with each other, or leaves them as they are.
        loss_temperature: A regularizer's divisor of the student's logits in losses (T_g of Kim).
        map_temperature: A regularizer's divisor of the logits that its discriminator sees; None
            without a discriminator.
        alpha: Share of the distillation loss in the sum with the supervised loss. The code that the
            report builds on averages the divergence over C classes: the same proportion as a share
            of alpha / (alpha + C (1 - alpha)) here.
        temperature: Temperature of the softmax of both networks in the distillation loss (T).
        ignored: Distill on pixels without a label too.
        unlabeled: Weight of the distillation loss on unlabeled images, times alpha; 0 leaves them
            out.
        pairwise: Weight of the difference between the similarities of places in the features of
            both.
        holistic: With the adversarial temperature regularizer: its discriminator tells the
            student's maps from the teacher's rather than from the ground truth (Liu et al., 3.3).

    Raises:
        ConfigError: ``holistic`` without a discriminator.
    """

    streams: tuple[str, ...] = ("labeled",)
    command = "distill"
    source_domain = "allowed"

    def __init__(
        self,
        student: SegmentationModel,
        *,
        trained_teacher: FixedTeacher,
        supervised_loss: Loss,
        average: Average[SegmentationModel],
        labeled_mix: LabeledMix = plain,
        loss_temperature: Annotated[float, ByRun()] = 1.0,
        map_temperature: Annotated[float | None, ByRun()] = None,
        alpha: Share = 0.9,
        temperature: Temperature = 20.0,
        ignored: bool = False,
        unlabeled: Annotated[Weight, TakesStream("unlabeled")] = 0.0,
        pairwise: Weight = 0.0,
        holistic: bool = False,
    ) -> None:
        if holistic and map_temperature is None:
            raise ConfigError(
                "distillation.holistic needs the discriminator of --regularizer "
                "adversarial-temperature"
            )
        self.student = student
        self.teacher = trained_teacher
        self.supervised_loss = supervised_loss
        self.divergence = tempered(distillation_divergence, loss_temperature)
        self.temperature = temperature
        self.average = average
        self.labeled_mix = labeled_mix
        self.alpha = alpha
        self.ignored = ignored
        self.unlabeled = unlabeled
        self.pairwise = pairwise
        self.map_temperature = map_temperature if holistic else None
        self.networks = {"student": student, "average": average.network}
        self.streams = ("labeled", "unlabeled") if unlabeled else ("labeled",)

    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> dict[str, Tensor]:
        """Labeled images, then unlabeled ones by option; see :class:`Method`."""
        labeled = self.labeled_mix(batch["labeled"], rng)
        wanted = self.teacher.forward_with_features(labeled.images)
        found = self.student.forward_with_features(labeled.images)
        losses, outputs = supervised_term(self.supervised_loss, found.logits, labeled)
        losses["supervised"] = (1 - self.alpha) * losses["supervised"]
        divergence = self.divergence(found.logits, wanted.logits, self.temperature)
        counted = labeled.valid if self.ignored else labeled.counted
        losses["distillation"] = self.alpha * located_mean(divergence, counted)
        if self.pairwise:
            difference = pairwise_difference(found.features, wanted.features)
            losses["pairwise"] = self.pairwise * difference
        if self.map_temperature is not None:
            # The discriminator tells the student's maps from these, not from the ground truth.
            real = class_maps(wanted.logits, labeled.counted, self.map_temperature)
            outputs["labeled"] = outputs["labeled"]._replace(labels=real)
        backward(losses, outputs)

        if self.unlabeled:
            images, valid = to_unit_range(batch["unlabeled"].images), batch["unlabeled"].valid
            target, logits = self.teacher(images), self.student(images)
            divergence = self.divergence(logits, target, self.temperature)
            distilled = self.alpha * located_mean(divergence, valid)
            output = StreamOutput(logits, valid)
            backward({"unlabeled": self.unlabeled * distilled}, {"unlabeled": output})
        return {}

    def after_update(self, step: int) -> None:
        """The average follows the student."""
        self.average.follow(step)
