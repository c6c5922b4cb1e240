"""The parts of the benchmark by their names."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.loader import loader
from benchmarks.measure import Action, compare
from benchmarks.memory import memory
from benchmarks.report import Report, report_of
from benchmarks.step import step
from benchmarks.workload import Workload
from mixseg.augmentation.strong import BLUR_SIGMA, blurred, jittered
from mixseg.evaluation.inference import predict_labels
from mixseg.evaluation.scores import ConfusionMatrix
from mixseg.mixing import with_partner
from mixseg.models import SegmentationModel
from mixseg.registry import MIXERS, TEACHERS
from mixseg.targets import MeanTeacher
from mixseg.training.precision import choose_precision
from tests.oracles import transcription
from tests.oracles.transcribed_step import MASKED, drawn_masks

STRENGTH = 0.25
"""Strength of the color jitter in the thesis."""

IMAGES = 4
"""Number of images that are evaluated in one go."""

Pairs = Mapping[str, tuple[Action, Action]]
"""What is done -> mixseg's form and the transcription."""


def mixers(work: Workload) -> Pairs:
    """The masks of each mixer, and mixing; against loops over images and SciPy's filter."""
    labels, images = work.labels(work.batch), work.images(work.batch)
    tensors = (images, labels, torch.ones(labels.shape, device=work.device))
    random = work.random("masks")
    mask = labels % 2 == 0

    def masks(name: str) -> tuple[Action, Action]:
        options = work.options(MIXERS, name)
        mixer = MIXERS.build(name, options, num_classes=work.num_classes)
        return (
            lambda: mixer.mask(labels, random),
            lambda: drawn_masks(name, options, labels, random, work.num_classes),
        )

    return {f"{name} masks": masks(name) for name in MASKED} | {
        "mixing images, labels, weights": (
            lambda: [with_partner(mask, tensor) for tensor in tensors],
            lambda: [transcription.mixed(mask, tensor) for tensor in tensors],
        )
    }


def augment(work: Workload) -> Pairs:
    """Jitter, blur, and both after ClassMix.

    The transcription jitters image by image, and blurs with a kernel of a tenth of the image.
    """
    images, labels = work.images(work.batch), work.labels(work.batch)
    random = work.random("masks")
    options = work.options(MIXERS, "classmix")
    mixer = MIXERS.build("classmix", options, num_classes=work.num_classes)
    draws, order, sigma = [0.2, 0.7, 0.4, 0.9], 0.3, sum(BLUR_SIGMA) / 2

    def plain_jitter(batch: Tensor) -> Tensor:
        how = (STRENGTH, draws, (1, 2, 3, 0), "torchvision")
        return torch.stack([transcription.jittered(one, *how) for one in batch])

    def own() -> None:
        mixed = with_partner(mixer.mask(labels, random), images)
        blurred(jittered(mixed, STRENGTH, draws, order), sigma)

    def plain() -> None:
        masks = drawn_masks("classmix", options, labels, random, work.num_classes)
        transcription.blurred(plain_jitter(transcription.mixed(masks, images)), sigma)

    return {
        "color jitter": (
            lambda: jittered(images, STRENGTH, draws, order),
            lambda: plain_jitter(images),
        ),
        "blur": (lambda: blurred(images, sigma), lambda: transcription.blurred(images, sigma)),
        "classmix, jitter, blur": (own, plain),
    }


def ema(work: Workload) -> Pairs:
    """One update of the teacher, late in a run, against a loop over parameters."""
    student = work.model()
    decay, late = work.options(TEACHERS, "mean")["teacher.decay"], 10_000
    teacher, plain = MeanTeacher(student, decay), copy.deepcopy(student)
    return {
        "average of parameters and buffers": (
            lambda: teacher.follow(late),
            lambda: transcription.follow(plain, student, late, decay, buffers=True),
        )
    }


def evaluate(work: Workload) -> Pairs:
    """Scores, and predictions with scores; against single images in float32, loops over classes."""
    images, labels = work.images(IMAGES), work.labels(IMAGES)
    model = work.model().eval()
    plain = work.model().eval()
    if work.settings.training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = choose_precision(work.settings.training.precision, work.device, model)
    size = work.settings.validation.batch_size
    guess = labels.roll(1, dims=0)

    def own() -> Tensor:
        matrix = ConfusionMatrix(work.num_classes, work.device)
        for part, label in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            matrix.update(predict_labels(model, part, autocast=precision.autocast), label)
        return matrix.iou()

    def scores() -> Tensor:
        matrix = ConfusionMatrix(work.num_classes, work.device)
        matrix.update(guess, labels)
        return matrix.iou()

    return {
        "scores": (scores, lambda: plain_scores(guess, labels, work.num_classes)),
        f"prediction and scores, {IMAGES} images": (
            own,
            lambda: plain_evaluation(plain, images, labels),
        ),
    }


@torch.no_grad()
def plain_evaluation(model: SegmentationModel, images: Tensor, labels: Tensor) -> list[float]:
    """IoU of each class, from the softmax of one image after the other.

    Args:
        model: In evaluation mode.
        images: float in [0, 1], shape (B, 3, H, W).
        labels: int64, shape (B, H, W), 255 = ignore.
    """
    guesses = [model(image[None]).softmax(dim=1).argmax(dim=1)[0].cpu() for image in images]
    return plain_scores(torch.stack(guesses), labels.cpu(), model.spec.num_classes)


def plain_scores(guesses: Tensor, labels: Tensor, num_classes: int) -> list[float]:
    """IoU of each class of train ids (B, H, W), counted class by class."""
    counts = [
        transcription.class_counts(guess, label, num_classes)
        for guess, label in zip(guesses, labels, strict=True)
    ]
    return transcription.class_iou(counts)


def _compared(pairs: Callable[[Workload], Pairs]) -> Callable[[Workload, Console], Report]:
    def measure(work: Workload, console: Console) -> Report:
        found = pairs(work).items()
        comparisons = [compare(what, *pair, work.device, work.rounds) for what, pair in found]
        return report_of(pairs.__name__, comparisons)

    return measure


PARTS: dict[str, Callable[[Workload, Console], Report]] = {
    "step": step,
    "mixers": _compared(mixers),
    "augment": _compared(augment),
    "ema": _compared(ema),
    "loader": loader,
    "evaluate": _compared(evaluate),
    "memory": memory,
}
"""Name -> what measures it. Add an entry to add a part."""

DEFAULT_PARTS = tuple(name for name in PARTS if name != "memory")
"""What is measured when no part is named; memory takes a process for each of its numbers."""
