"""The semi-supervised step as Figure 3.3 of Tranheden & Olsson draws it, out of plain pieces."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from mixseg.augmentation.strong import BLUR_SIGMA
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.data.streams import Batch
from mixseg.errors import ConfigError
from mixseg.methods import StepRandom
from mixseg.mixing.cowmix import REFERENCE_AREA
from mixseg.models import SegmentationModel
from tests.oracles import transcription

MASKED = ("classmix", "cutmix", "cowmix")
"""Mixers that have a transcription."""

TRANSCRIBED: dict[str, tuple[Any, ...]] = {
    "method": ("semi_supervised",),
    "regularizer": ("none",),
    "mixing.mixer": MASKED,
    "mixing.labeled": ("none",),
    "supervised_loss.name": ("cross-entropy",),
    "supervised_loss.label_smoothing": (0.0,),
    "targets.kind": ("hard",),
    "targets.weighting": ("threshold-proportional",),
    "targets.per": ("batch",),
    "targets.consistency": ("cross-entropy",),
    "targets.alignment": ("none",),
    "teacher.mode": ("train",),
    "model.joint_forward": (False,),
    "model.activation_checkpointing": (False,),
    "optimizer.clip_norm": (None,),
    "optimizer.no_decay_norms": (False,),
    "optimizer.layer_decay": (1.0,),
    "training.accumulate": (1,),
}
"""Setting -> the values of it that the step knows."""


def check_transcribed(settings: Settings) -> None:
    """Raise a ConfigError for settings that have no transcription."""
    flat = to_flat(settings)
    for name, known in TRANSCRIBED.items():
        if name in flat and flat[name] not in known:
            raise ConfigError(
                f"{name}: the transcribed step knows {' or '.join(map(str, known))}, found "
                f"{flat[name]}"
            )


class TranscribedStep:
    """Three network calls in float32, two losses, the optimizer, and the average, in this order.

    Tensors have torch's default memory layout, convolutions are the library's; the optimizer goes
    from parameter to parameter.
    """

    def __init__(self, student: SegmentationModel, settings: Settings) -> None:
        """Copy the student twice; its weights are where training starts."""
        check_transcribed(settings)
        plain = copy.deepcopy(student).to(memory_format=torch.contiguous_format)
        plain.head.by_taps = False  # convolutions are the library's
        self.student = plain.train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.mixer, self.options = settings.mixing.mixer, settings.options
        self.optimizer = _optimizer(self.student, settings)

    def __call__(self, batches: Mapping[str, Batch], step: int, random: StepRandom) -> float:
        """Take a step; the sum of both losses."""
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]
        logits = self.student(labeled.images.float() / 255)
        supervised = self.supervised(logits, labeled.labels.long())

        images = unlabeled.images.float() / 255
        with torch.no_grad():
            labels, confidence = self.pseudo_labels(self.teacher(images))
        masks = self.masks(labels, random)
        images, labels = self.mixed(masks, images), self.mixed(masks, labels)
        weights = self.weights(self.mixed(masks, confidence))
        logits = self.student(self.augment(images, random))
        consistency = self.consistency(logits, labels, weights)

        loss = supervised + self.options["targets.unsupervised_weight"] * consistency
        self.backward(loss)
        self.move()
        self.follow(step)
        return float(loss.detach())

    def advancing(
        self, batches: Mapping[str, Batch], seed: int, device: torch.device
    ) -> Callable[[int], float]:
        """A function that takes the step of a number, with the draws of the trainer's step."""
        return lambda step: self(batches, step, StepRandom.of(seed, step, 0, device))

    supervised = staticmethod(transcription.supervised_loss)
    pseudo_labels = staticmethod(transcription.pseudo_labels)
    mixed = staticmethod(transcription.mixed)
    consistency = staticmethod(transcription.consistency_loss)

    def masks(self, labels: Tensor, random: StepRandom) -> Tensor:
        classes = self.student.spec.num_classes
        return drawn_masks(self.mixer, self.options, labels, random.device, classes)

    def weights(self, confidence: Tensor) -> Tensor:
        return transcription.proportional_weights(confidence, self.options["targets.threshold"])

    def augment(self, images: Tensor, random: StepRandom) -> Tensor:
        return augmented(self.options, images, random.host)

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def move(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()

    def follow(self, step: int) -> None:
        average = self.options["teacher.buffers"] == "average"
        decay = self.options["teacher.decay"]
        transcription.follow(self.teacher, self.student, step, decay, buffers=average)


def drawn_masks(
    mixer: str,
    options: Mapping[str, Any],
    labels: Tensor,
    random: torch.Generator,
    num_classes: int,
) -> Tensor:
    """Masks of a mixer; ClassMix and CutMix take the numbers that mixseg's mixers take."""
    count, height, width = labels.shape
    proportion = options["mixing.proportion"]
    if mixer == "classmix":
        scores = torch.rand(count, num_classes + 1, generator=random, device=labels.device)
        return transcription.classmix_masks(
            labels,
            scores,
            proportion,
            round_=getattr(math, options["mixing.rounding"]),
            ignore_is_class=options["mixing.ignore_is_class"],
        )
    if mixer == "cutmix":
        draws = torch.rand(3, count, 1, 1, generator=random, device=labels.device)
        masks = transcription.cutmix_masks((height, width), draws.flatten(1), proportion)
        return masks.to(labels.device)
    scale = math.sqrt(height * width / REFERENCE_AREA) if options["mixing.sigma_scaled"] else 1.0
    low, high = (math.log(scale * bound) for bound in options["mixing.sigma"])
    seed = int(torch.randint(2**62, (), generator=random, device=labels.device))
    draws_of = np.random.default_rng(seed)
    sigmas = np.exp(draws_of.uniform(low, high, size=count))
    noise = draws_of.normal(size=(count, height, width))
    cows = transcription.cowmix_masks(noise, sigmas.tolist(), proportion)
    return torch.from_numpy(cows).to(labels.device)


def augmented(options: Mapping[str, Any], images: Tensor, random: torch.Generator) -> Tensor:
    """Color jitter and blur with the numbers that mixseg's strong augmentation takes."""
    chosen = {key.removeprefix("augmentation."): value for key, value in options.items()}
    strength, form = chosen["color_jitter"], chosen["color_jitter_form"]
    draws = torch.rand(8, generator=random).tolist()
    each = [draws[1:5]] * len(images)
    if chosen["per"] == "image":
        each = torch.rand(len(images), 4, generator=random).tolist()
    if strength > 0 and draws[0] < chosen["color_jitter_probability"]:
        order = list(itertools.permutations(range(4)))[int(24 * draws[5])]
        if (chosen["per"], form) == ("batch", "torchvision"):
            first = int(4 * draws[5])
            order = (*range(first, 4), *range(first))
        pairs = zip(images, each, strict=True)
        changed = [transcription.jittered(one, strength, own, order, form) for one, own in pairs]
        images = torch.stack(changed)
    if chosen["blur"] and draws[6] < chosen["blur_probability"]:
        low, high = BLUR_SIGMA
        images = transcription.blurred(images, low + (high - low) * draws[7])
    return images


def _optimizer(student: SegmentationModel, settings: Settings) -> Optimizer:
    chosen, momentum = settings.optimizer, settings.options["optimizer.momentum"]
    groups = student.parameter_groups(
        chosen.lr, chosen.weight_decay, head_factor=chosen.head_factor
    )
    if chosen.name == "sgd":
        return torch.optim.SGD(groups, chosen.lr, momentum=momentum, foreach=False)
    return torch.optim.AdamW(groups, chosen.lr, betas=(momentum, 0.999), foreach=False)
