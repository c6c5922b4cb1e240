"""The semi-supervised step as Figure 3.3 of Tranheden & Olsson draws it, out of plain pieces."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from mixseg.data.strong_augmentation import BLUR_SIGMA
from mixseg.engine.method import StepRandom
from torch import Tensor
from torch.optim import Optimizer

from mixseg.config import AugmentationSettings, MixingSettings, Settings
from mixseg.data.streams import Batch
from mixseg.errors import ConfigError
from mixseg.mixing.cowmix import REFERENCE_AREA
from mixseg.models import SegmentationModel, parameter_groups
from mixseg.models.plain import use_plain_convolutions
from tests.oracles import transcription

MASKED = ("classmix", "cutmix", "cowmix")
"""Mixers of which there is a transcription."""


class TranscribedStep:
    """Three network calls in float32, two losses, the optimizer, and the average, in this order.

    Tensors have torch's default memory layout, convolutions are the library's; the optimizer goes
    from parameter to parameter.
    """

    def __init__(self, student: SegmentationModel, settings: Settings) -> None:
        """Copy the student twice.

        Args:
            student: Its weights are where training starts.
            settings: The settings of the run.

        Raises:
            ConfigError: :func:`check_transcribed` refuses the settings.
        """
        check_transcribed(settings)
        plain = copy.deepcopy(student).to(memory_format=torch.contiguous_format)
        use_plain_convolutions(plain)
        self.student = plain.train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.settings = settings
        self.optimizer = _optimizer(self.student, settings)

    def __call__(self, batches: Mapping[str, Batch], step: int, random: StepRandom) -> float:
        """Take a step.

        Args:
            batches: ``labeled`` and ``unlabeled``, on the device of the student.
            step: Number of the step, from 0.
            random: Generators of the step; see :func:`drawn_masks` for what is drawn.

        Returns:
            The sum of both losses.
        """
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]
        logits = self.student_logits(labeled.images.float() / 255)
        supervised = self.supervised(logits, labeled.labels.long())

        images = unlabeled.images.float() / 255
        with torch.no_grad():
            labels, confidence = self.pseudo_labels(self.teacher_logits(images))
        masks = self.masks(labels, random)
        images, labels = self.mixed(masks, images), self.mixed(masks, labels)
        weights = self.weights(self.mixed(masks, confidence))
        logits = self.student_logits(self.augment(images, random))
        consistency = self.consistency(logits, labels, weights)

        loss = supervised + self.settings.targets.unsupervised_weight * consistency
        self.backward(loss)
        self.move()
        self.follow(step)
        return float(loss.detach())

    def advancing(
        self, batches: Mapping[str, Batch], seed: int, device: torch.device
    ) -> Callable[[int], float]:
        """A function that takes the step of a number, with the draws of the trainer's step."""
        return lambda step: self(batches, step, StepRandom.of(seed, step, 0, device))

    def student_logits(self, images: Tensor) -> Tensor:
        """The student's logits, (B, C, H, W)."""
        logits: Tensor = self.student(images)
        return logits

    def teacher_logits(self, images: Tensor) -> Tensor:
        """The teacher's logits, (B, C, H, W); it normalizes with the statistics of the batch."""
        logits: Tensor = self.teacher(images)
        return logits

    def supervised(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See :func:`transcription.supervised_loss`."""
        return transcription.supervised_loss(logits, labels)

    def pseudo_labels(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """See :func:`transcription.pseudo_labels`."""
        return transcription.pseudo_labels(logits)

    def masks(self, labels: Tensor, random: StepRandom) -> Tensor:
        """See :func:`drawn_masks`."""
        classes = self.student.spec.num_classes
        return drawn_masks(self.settings.mixing, labels, random.device, classes)

    def mixed(self, masks: Tensor, values: Tensor) -> Tensor:
        """See :func:`transcription.mixed`."""
        return transcription.mixed(masks, values)

    def weights(self, confidence: Tensor) -> Tensor:
        """See :func:`transcription.proportional_weights`."""
        return transcription.proportional_weights(confidence, self.settings.targets.threshold)

    def augment(self, images: Tensor, random: StepRandom) -> Tensor:
        """See :func:`augmented`."""
        return augmented(self.settings.augmentation, images, random.host)

    def consistency(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """See :func:`transcription.consistency_loss`."""
        return transcription.consistency_loss(logits, labels, weights)

    def backward(self, loss: Tensor) -> None:
        """Gradients."""
        loss.backward()  # type: ignore[no-untyped-call]

    def move(self) -> None:
        """A step of the optimizer."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def follow(self, step: int) -> None:
        """See :func:`transcription.follow`."""
        chosen = self.settings.teacher
        average = chosen.buffers == "average"
        transcription.follow(self.teacher, self.student, step, chosen.decay, buffers=average)


def check_transcribed(settings: Settings) -> None:
    """Refuse settings of which there is no transcription.

    Raises:
        ConfigError: A setting differs from the thesis' semi-supervised step.
    """
    found = {
        "method": (settings.method, ("semi_supervised",)),
        "regularizer": (settings.regularizer, ("none",)),
        "mixing.mixer": (settings.mixing.mixer, MASKED),
        "mixing.labeled": (settings.mixing.labeled, ("none",)),
        "supervised_loss.name": (settings.supervised_loss.name, ("cross-entropy",)),
        "supervised_loss.label_smoothing": (settings.supervised_loss.label_smoothing, (0.0,)),
        "targets.kind": (settings.targets.kind, ("hard",)),
        "targets.weighting": (settings.targets.weighting, ("threshold-proportional",)),
        "targets.per": (settings.targets.per, ("batch",)),
        "targets.consistency": (settings.targets.consistency, ("cross-entropy",)),
        "targets.alignment": (settings.targets.alignment, ("none",)),
        "teacher.mode": (settings.teacher.mode, ("train",)),
        "model.joint_forward": (settings.model.joint_forward, (False,)),
        "model.activation_checkpointing": (settings.model.activation_checkpointing, (False,)),
        "optimizer.clip_norm": (settings.optimizer.clip_norm, (None,)),
        "training.accumulate": (settings.training.accumulate, (1,)),
    }
    for name, (value, known) in found.items():
        if value not in known:
            raise ConfigError(
                f"{name}: the step is compared with that of the semi-supervised thesis, where it "
                f"is {' or '.join(map(str, known))}; found {value}"
            )


def drawn_masks(
    settings: MixingSettings, labels: Tensor, random: torch.Generator, num_classes: int
) -> Tensor:
    """Masks of the mixer in the settings.

    ClassMix and CutMix take the numbers that mixseg's mixers take: both give the same masks.

    Args:
        settings: The settings of mixing.
        labels: int64, shape (B, H, W), 255 = ignore.
        random: A generator on the device of the labels.
        num_classes: C.

    Returns:
        bool, shape (B, H, W).
    """
    count, height, width = labels.shape
    if settings.mixer == "classmix":
        scores = torch.rand(count, num_classes + 1, generator=random, device=labels.device)
        return transcription.classmix_masks(
            labels,
            scores,
            settings.proportion,
            round_=getattr(math, settings.rounding),
            ignore_is_class=settings.ignore_is_class,
        )
    if settings.mixer == "cutmix":
        draws = torch.rand(3, count, 1, 1, generator=random, device=labels.device)
        masks = transcription.cutmix_masks((height, width), draws.flatten(1), settings.proportion)
        return masks.to(labels.device)
    scale = math.sqrt(height * width / REFERENCE_AREA) if settings.sigma_scaled else 1.0
    low, high = (math.log(scale * bound) for bound in settings.sigma)
    seed = int(torch.randint(2**62, (), generator=random, device=labels.device))
    draws_of = np.random.default_rng(seed)
    sigmas = np.exp(draws_of.uniform(low, high, size=count))
    noise = draws_of.normal(size=(count, height, width))
    cows = transcription.cowmix_masks(noise, sigmas.tolist(), settings.proportion)
    return torch.from_numpy(cows).to(labels.device)


def augmented(settings: AugmentationSettings, images: Tensor, random: torch.Generator) -> Tensor:
    """Color jitter and blur with the numbers that mixseg's strong augmentation takes.

    Args:
        settings: The settings of augmentation.
        images: float RGB in [0, 1], shape (B, 3, H, W).
        random: A generator on the CPU.
    """
    draws = torch.rand(8, generator=random).tolist()
    each = [draws[1:5]] * len(images)
    if settings.per == "image":
        each = torch.rand(len(images), 4, generator=random).tolist()
    if settings.colour_jitter > 0 and draws[0] < settings.colour_jitter_probability:
        order = list(itertools.permutations(range(4)))[int(24 * draws[5])]
        if (settings.per, settings.colour_jitter_form) == ("batch", "torchvision"):
            first = int(4 * draws[5])
            order = (*range(first, 4), *range(first))
        images = torch.stack(
            [
                transcription.jittered(
                    image, settings.colour_jitter, own, order, settings.colour_jitter_form
                )
                for image, own in zip(images, each, strict=True)
            ]
        )
    if settings.blur and draws[6] < settings.blur_probability:
        low, high = BLUR_SIGMA
        images = transcription.blurred(images, low + (high - low) * draws[7])
    return images


def _optimizer(student: SegmentationModel, settings: Settings) -> Optimizer:
    chosen = settings.optimizer
    groups = parameter_groups(student, chosen.lr, chosen.head_factor, chosen.weight_decay)
    if chosen.name == "sgd":
        return torch.optim.SGD(groups, chosen.lr, momentum=chosen.momentum, foreach=False)
    return torch.optim.AdamW(groups, chosen.lr, betas=(chosen.momentum, 0.999), foreach=False)
