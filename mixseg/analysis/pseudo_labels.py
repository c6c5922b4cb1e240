"""Pseudo-labels of a trained network against the truth, where unlabeled images have labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from mixseg.config.sections import Settings
from mixseg.data.contract import SegmentationDataset
from mixseg.data.images import ImageArray, LabelArray
from mixseg.data.pairing import pair_present
from mixseg.files import read_text
from mixseg.ignore import IGNORE
from mixseg.training.data import RunData

if TYPE_CHECKING:
    from torch import Tensor

    from mixseg.evaluation.prediction import Predictor
    from mixseg.targets import PseudoLabels

BINS = 10
"""Bins of equal width in which confidence is compared with accuracy."""

ALL = "all classes"
"""What stands for them together in tables."""


class Quality(NamedTuple):
    """How good the pseudo-labels of a class are, or those of all; None where nothing is counted.

    Attributes:
        pixels: Pixels of known truth with this pseudo-label.
        share: Their share of all pseudo-labels.
        truth: Share of the class in the truth.
        accuracy: Share of them that are right.
        recall: Share of the pixels of the class that are found.
        coverage: Share of them whose confidence lies above the threshold.
        accuracy_above: Share of those that are right.
        confidence: Mean confidence of the pseudo-labels.
        calibration_error: Mean over the pixels of the distance between the confidence and the
            accuracy of their bin, :data:`BINS` of which divide [0, 1] (the ECE of Guo et al. 2017).
    """

    pixels: int
    share: float | None
    truth: float | None
    accuracy: float | None
    recall: float | None
    coverage: float | None
    accuracy_above: float | None
    confidence: float | None
    calibration_error: float | None


@final
class PseudoLabelCounts:
    """Pixels counted by truth, pseudo-label and confidence; pixels without a truth do not count."""

    def __init__(self, num_classes: int, threshold: float) -> None:
        self.threshold = threshold
        # Axes: truth, pseudo-label, bin of confidence, whether it lies above the threshold.
        self._pixels = np.zeros((num_classes, num_classes, BINS, 2), np.int64)
        self._confidence = np.zeros((num_classes, BINS))

    def add(
        self, truth: LabelArray, labels: NDArray[np.integer], confidence: NDArray[np.float32]
    ) -> None:
        """Count an image.

        Args:
            truth: uint8, shape (H, W), 255 where it is not known.
            labels: The pseudo-labels, shape (H, W), train ids.
            confidence: float32 in [0, 1], shape (H, W).
        """
        known = truth != IGNORE
        true, label, sure = truth[known].astype(np.int64), labels[known], confidence[known]
        bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        above = (sure > self.threshold).astype(np.int64)
        shape = self._pixels.shape
        places = np.ravel_multi_index((true, label, bins, above), shape)
        self._pixels += np.bincount(places, minlength=self._pixels.size).reshape(shape)
        places = np.ravel_multi_index((label, bins), shape[1:3])
        sums = np.bincount(places, sure, minlength=self._confidence.size)
        self._confidence += sums.reshape(self._confidence.shape)

    def of_classes(self) -> list[Quality]:
        """The pseudo-labels of each class."""
        return [self._quality(slice(one, one + 1)) for one in range(len(self._pixels))]

    def of_all(self) -> Quality:
        """All pseudo-labels; ``share``, ``truth`` and ``recall`` then say nothing."""
        return self._quality(slice(None))

    def _quality(self, chosen: slice) -> Quality:
        every = self._pixels.sum()
        found = self._pixels[:, chosen]
        right = np.einsum("aabs->abs", self._pixels)[chosen].sum(axis=0)
        bins, sums = found.sum(axis=(0, 1, 3)), self._confidence[chosen].sum(axis=0)
        pixels, above, true = bins.sum(), found[..., 1].sum(), self._pixels[chosen].sum()
        return Quality(
            int(pixels),
            _share(pixels, every),
            _share(true, every),
            _share(right.sum(), pixels),
            _share(right.sum(), true),
            _share(above, pixels),
            _share(right[:, 1].sum(), above),
            _share(sums.sum(), pixels),
            _share(np.abs(sums - right.sum(axis=1)).sum(), pixels),
        )


def _share(part: np.number, whole: np.number) -> float | None:
    return float(part / whole) if whole else None


def label_image(
    predictor: Predictor, image: ImageArray, settings: Settings, factors: Tensor | None = None
) -> PseudoLabels:
    """The pseudo-labels of a whole image (1, H, W), at the temperature of the run's training.

    The network is in evaluation mode. ``factors`` are those of :func:`aligning`.
    """
    import torch
    from torch.nn import functional

    from mixseg.losses.temperature import tempered
    from mixseg.targets import pseudo_labels
    from mixseg.targets.alignment import aligned

    probabilities = predictor.probabilities(image)
    temperature = settings.options.get("adversarial.temperature_g", 1.0)
    if temperature != 1:
        # Logarithms of probabilities are logits but for a constant.
        softmax = tempered(functional.softmax, temperature)
        probabilities = softmax(probabilities.clamp(min=1e-30).log(), dim=1)
    if factors is not None:
        probabilities = aligned(probabilities, factors)
    return pseudo_labels(probabilities, torch.ones(1, *image.shape[:2], dtype=torch.bool))


def aligning(checkpoint: Path) -> Tensor | None:
    """What a teacher's probabilities were multiplied by when it was saved: float32, shape (C,).

    None where the run aligns no distribution.

    Raises:
        CheckpointError: The checkpoint is damaged.
    """
    from mixseg.targets.alignment import alignment_factors
    from mixseg.training.checkpoint import listed_tensors, read_checkpoint

    if "method" not in listed_tensors(checkpoint):
        return None
    state = read_checkpoint(checkpoint, only=("method",)).tensors["method"]
    return alignment_factors(state) if "wanted" in state else None


def threshold_of(settings: Settings) -> float:
    """The confidence above which a pixel counts as confident; the thesis' where a run has none."""
    return float(settings.options.get("targets.threshold", 0.968))


def images_with_truth(data: RunData, run: Path) -> tuple[SegmentationDataset, str]:
    """The unlabeled images of a run that have labels on disk, and what they are called.

    Where there are none, they are the images that the run is validated on.
    """
    record = run / "unlabeled.txt"
    if data.data.unlabeled is None and record.is_file():
        ids = set(read_text(record).splitlines())
        train = data.split(data.data.train_split, pair_present)
        kept = tuple(one for one in train.samples if one.id in ids and one.label is not None)
        if kept:
            return dataclasses.replace(train, samples=kept), "unlabeled images"
    dataset, name = data.judged(None, run)
    return dataset, f"images of {name} (no unlabeled image has a label)"
