"""Semi-supervised training with a mean teacher and mixed images (002, 3.2 and Figure 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.data.strong_augmentation import StrongAugmentation
from mixseg.data.transforms import to_unit_range
from mixseg.engine.method import Method, StepRandom, StepResult
from mixseg.engine.teacher import MeanTeacher
from mixseg.losses import build_consistency, segmentation_cross_entropy
from mixseg.mixing import build_mixer, with_partner
from mixseg.models import SegmentationModel
from mixseg.targets import build_weighting, confident_fraction, pseudo_labels


@final
class SemiSupervised(Method):
    """L = L_l + lambda_u L_u (3.1): the student agrees with the teacher on mixed images."""

    streams: ClassVar[tuple[str, ...]] = ("labeled", "unlabeled")

    def __init__(self, student: SegmentationModel, settings: Settings) -> None:
        self.student = student
        teacher = settings.teacher
        self.teacher = MeanTeacher(student, teacher.decay, teacher.mode, teacher.buffers)
        self.networks = {"student": student, "teacher": self.teacher.network}
        self.mixer = build_mixer(settings.mixing, student.spec.num_classes)
        self.weighting = build_weighting(settings.targets)
        self.consistency = build_consistency(settings.targets)
        self.augment = StrongAugmentation(settings.augmentation)
        self.targets = settings.targets

    def step(self, batches: Mapping[str, Batch], step: int, random: StepRandom) -> StepResult:
        """One step of the method; see :class:`mixseg.engine.method.Method`."""
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]

        logits = self.student(to_unit_range(labeled.images))
        supervised = segmentation_cross_entropy(logits, labeled.labels.long())

        images = to_unit_range(unlabeled.images)
        answer = pseudo_labels(self.teacher.probabilities(images), unlabeled.valid)

        # Padding is never pasted: where the kept image has none of its own, its partner stays.
        mask = self.mixer.mask(answer.labels, random.device) & unlabeled.valid
        mixed_images = self.augment(with_partner(mask, images), random.host)
        hard = self.targets.kind == "hard"
        mixed_targets = with_partner(mask, answer.labels if hard else answer.probabilities)
        mixed_confidence = with_partner(mask, answer.confidence)
        mixed_valid = with_partner(mask, unlabeled.valid)
        weights = self.weighting(mixed_confidence, mixed_valid, step) * mixed_valid

        logits = self.student(mixed_images)
        consistency = self.consistency(logits, mixed_targets, weights)

        confident = confident_fraction(
            mixed_confidence, mixed_valid, self.targets.threshold, per="batch"
        )
        return StepResult(
            losses={
                "supervised": supervised,
                "consistency": self.targets.unsupervised_weight * consistency,
            },
            logs={"confident": confident.mean(), "weight": weights.mean()},
        )

    def after_update(self, step: int) -> None:
        """The teacher follows the student."""
        self.teacher.follow(step)
