"""The confusion matrix of a whole split, and the scores that are read off it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, final

import torch
from torch import Tensor

from mixseg.distributed import summed
from mixseg.errors import DataError, named_first
from mixseg.ignore import IGNORE


@final
class ConfusionMatrix:
    """Exact pixel counts of (label, prediction) pairs, summed over any number of images.

    The scores are those of cityscapesScripts: pixels whose label is 255 count nowhere, not even
    as false positives, and a class that neither prediction nor label holds has no IoU. A prediction
    of 255, no class, is a miss for the label's class and no false positive of another.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.num_classes = num_classes
        # The matrix, flattened, with a last column for predictions of no class, then a cell for
        # ignored pixels and one for invalid ids. Counting those two as well keeps the shapes
        # static: nothing waits for the device.
        cells = num_classes * (num_classes + 1) + 2
        self._cells = torch.zeros(cells, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count the pixels of one image or batch.

        Args:
            prediction: Integer train ids, any shape, 255 = no class. What it holds where the
                label is 255 does not matter.
            label: Integer train ids, 255 = ignore, same shape as ``prediction``.

        Raises:
            DataError: The shapes differ.
        """
        if prediction.shape != label.shape:
            raise DataError(
                f"prediction has shape {tuple(prediction.shape)} "
                f"but its label has {tuple(label.shape)}"
            )
        n = self.num_classes
        guess = prediction.to(self._cells.device, torch.int64, non_blocking=True).flatten()
        truth = label.to(self._cells.device, torch.int64, non_blocking=True).flatten()
        known = (truth >= 0) & (truth < n) & (((guess >= 0) & (guess < n)) | (guess == IGNORE))
        column = torch.where(guess == IGNORE, n, guess)
        cell = torch.where(known, truth * (n + 1) + column, n * (n + 1) + 1)
        cell = torch.where(truth == IGNORE, n * (n + 1), cell)
        # index_add_ and not bincount, which would synchronize to find the largest index.
        # Integer addition makes the result independent of the order of the atomics.
        one = torch.ones((), dtype=torch.int64, device=cell.device)
        self._cells.index_add_(0, cell, one.expand_as(cell))

    def join(self) -> None:
        """All-reduce the counts over all processes; collective."""
        self._cells = summed(self._cells)

    def counts(self) -> Tensor:
        """The matrix: int64 on the CPU, shape (C, C + 1), row = label, column = prediction.

        The last column holds the predictions of no class.

        Raises:
            DataError: A counted pixel had a label or a prediction that is no train id.
        """
        cells = self._cells.cpu()
        if cells[-1] > 0:
            raise DataError(
                f"{int(cells[-1])} labeled pixels have a label or a prediction outside "
                f"0..{self.num_classes - 1}; do network and data set have the same classes?"
            )
        return cells[:-2].reshape(self.num_classes, self.num_classes + 1)

    def iou(self) -> Tensor:
        """TP / (TP + FP + FN) of each class: float64 on the CPU, shape (C,), in [0, 1].

        NaN for a class that occurs neither in the predictions nor in the labels.
        """
        counts = self.counts().double()
        hits = counts.diagonal()
        return hits / (counts.sum(0)[:-1] + counts.sum(1) - hits)

    def pixel_accuracy(self) -> float:
        """Fraction of the labeled pixels that are right; NaN if no pixel is labeled."""
        counts = self.counts().double()
        return float(counts.diagonal().sum() / counts.sum())


@final
@dataclass(frozen=True)
class Scores:
    """What a network reached on a split, and how that was measured.

    Attributes:
        classes: Class names in the order of their train ids.
        iou: IoU in [0, 1] per class; None for a class absent from predictions and labels, or not
            to be judged.
        miou: Mean over the classes that have an IoU; :meth:`coverage` says which have none.
        pixel_accuracy: Fraction of the labeled pixels that are right.
        images: Number of images.
        resolution: The size at which labels were compared, and the network's input size if fixed.
        mode: How the network was applied, from :meth:`InferenceMode.describe`.
        unlabeled: Names of the classes that no pixel is labeled with.
    """

    classes: tuple[str, ...]
    iou: tuple[float | None, ...]
    miou: float
    pixel_accuracy: float
    images: int
    resolution: str
    mode: str
    unlabeled: tuple[str, ...] = ()

    @property
    def counted(self) -> int:
        """Number of classes that the mean is taken over."""
        return sum(value is not None for value in self.iou)

    @property
    def by_class(self) -> dict[str, float | None]:
        """Name of a class -> its IoU."""
        return dict(zip(self.classes, self.iou, strict=True))

    def coverage(self, *, named: bool = True) -> str:
        """Which classes the mean leaves out, by name or number; empty if it covers all."""
        parts = []
        if self.counted < len(self.classes):
            parts.append(f"mean over {self.counted} of {len(self.classes)} classes")
        if self.unlabeled and named:
            parts.append(f"no pixel of: {named_first(self.unlabeled)}")
        wrong = [name for name in self.unlabeled if self.by_class[name] is not None]
        if wrong:
            which = f": {named_first(wrong)}" if named else ""
            parts.append(f"{len(wrong)} without a label predicted and counted as 0{which}")
        return "; ".join(parts)

    @classmethod
    def of(
        cls,
        matrix: ConfusionMatrix,
        classes: tuple[str, ...],
        *,
        images: int,
        resolution: str,
        mode: str,
        judged: Collection[str] | None = None,
    ) -> Self:
        """The scores of a filled matrix.

        Args:
            matrix: The counts.
            classes: See :class:`Scores`, as for the others.
            judged: Only these classes have an IoU, and of them only those that are labeled
                somewhere: for a network of other classes than the data's. Pixels of the other
                classes count all the same, as false positives of these and in the accuracy.
                None judges as the benchmarks do.

        Raises:
            DataError: No labeled pixel was counted, or none of a judged class.
        """
        accuracy = matrix.pixel_accuracy()
        if math.isnan(accuracy):
            raise DataError(
                f"none of the {images} images has a labeled pixel: every label is {IGNORE}"
            )
        iou = matrix.iou()
        absent = matrix.counts().sum(1) == 0
        if judged is not None:
            allowed = torch.tensor([name in judged for name in classes])
            iou[~allowed | absent] = math.nan
            if iou.isnan().all():
                raise DataError(
                    f"none of the {images} images has a label of a class to be judged "
                    f"({', '.join(judged)})"
                )
        return cls(
            classes=classes,
            iou=tuple(None if math.isnan(value) else value for value in iou.tolist()),
            miou=float(iou.nanmean()),
            pixel_accuracy=accuracy,
            images=images,
            resolution=resolution,
            mode=mode,
            unlabeled=tuple(
                name for name, gone in zip(classes, absent.tolist(), strict=True) if gone
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as lists, strings and numbers that ``json.dumps`` writes without NaN."""
        return asdict(self) | {key: list(getattr(self, key)) for key in _LISTS}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            TypeError: A field is missing, unknown, or of another type.
        """
        # Scores of earlier versions do not have `unlabeled`.
        lists = {"unlabeled": ()} | {key: fields[key] for key in _LISTS if key in fields}
        scores = cls(**(dict(fields) | {key: tuple(value) for key, value in lists.items()}))
        known = [one for one in scores.iou if one is not None]
        numbers = [scores.miou, scores.pixel_accuracy, *known]
        texts = [*scores.classes, *scores.unlabeled, scores.resolution, scores.mode]
        if not (
            all(type(number) in (float, int) and 0 <= number <= 1 for number in numbers)
            and all(isinstance(text, str) for text in texts)
            and len(scores.classes) == len(scores.iou)
            and type(scores.images) is int
        ):
            raise TypeError(f"these are no scores: {str(fields)[:200]}")
        return scores


_LISTS = ("classes", "iou", "unlabeled")
"""Fields that are lists in JSON."""
