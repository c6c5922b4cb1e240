"""Prediction and scores, against one image at a time in float32 and loops over classes."""

from __future__ import annotations

import torch
from torch import Tensor

from mixseg.benchmark import transcription
from mixseg.benchmark.measure import Comparison, compare
from mixseg.benchmark.workload import Workload
from mixseg.engine.precision import choose_precision
from mixseg.evaluation.inference import predict_labels
from mixseg.evaluation.scores import ConfusionMatrix
from mixseg.models import SegmentationModel

IMAGES = 4
"""Evaluated in one go."""


def measure_evaluate(work: Workload) -> list[Comparison]:
    """Scores of predictions, and predictions with their scores."""
    images, labels = work.images(IMAGES), work.labels(IMAGES)
    model = work.model().eval()
    plain = work.model().eval()
    if work.settings.training.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = choose_precision(work.settings.training.precision, work.device, model)
    size = work.settings.validation.batch_size
    guess = labels.roll(1, dims=0)

    def scores(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        matrix = ConfusionMatrix(work.num_classes, work.device)
        for prediction, label in pairs:
            matrix.update(prediction, label)
        return matrix.iou()

    def own() -> Tensor:
        return scores(
            [
                (predict_labels(model, part, autocast=precision.autocast), label)
                for part, label in zip(
                    torch.split(images, size), torch.split(labels, size), strict=True
                )
            ]
        )

    return [
        compare(
            "scores",
            lambda: scores([(guess, labels)]),
            lambda: plain_scores(guess, labels, work.num_classes),
            work.device,
            work.rounds,
        ),
        compare(
            f"prediction and scores, {IMAGES} images",
            own,
            lambda: plain_evaluation(plain, images, labels),
            work.device,
            work.rounds,
        ),
    ]


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
