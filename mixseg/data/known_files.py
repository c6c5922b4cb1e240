"""Files that are no unlabelled images: labels, and images that scores are measured on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from mixseg.data.contract import Sample, SegmentationDataset


@final
@dataclass(frozen=True)
class KnownFiles:
    """Files with links resolved, so that another way to the same file makes no difference.

    Attributes:
        labels: Label files.
        label_folders: Folders that hold labels and no image of a split: a PNG beside them is a
            label too, such as Cityscapes' ``_color.png`` or one whose image is gone.
        validated: Validation images.
    """

    labels: frozenset[Path]
    label_folders: frozenset[Path]
    validated: frozenset[Path]

    @classmethod
    def of(
        cls, labeled: Iterable[SegmentationDataset], validated: Iterable[SegmentationDataset]
    ) -> KnownFiles:
        """The files of some splits.

        Args:
            labeled: Splits whose label files count.
            validated: Splits whose images count.
        """
        samples = [sample for dataset in labeled for sample in dataset.samples]
        labels = frozenset(
            _resolved(sample.label) for sample in samples if sample.label is not None
        )
        images = {_resolved(sample.image).parent for sample in samples}
        return cls(
            labels,
            frozenset(label.parent for label in labels) - images,
            frozenset(
                _resolved(sample.image) for dataset in validated for sample in dataset.samples
            ),
        )

    def is_label(self, path: Path) -> bool:
        """Whether a file, its links resolved, is a label."""
        beside = path.suffix.lower() == ".png" and path.parent in self.label_folders
        return beside or path in self.labels


def without_known(
    photographs: SegmentationDataset, known: KnownFiles
) -> tuple[SegmentationDataset, str]:
    """Unlabelled images without such files, and what was left out, for people; may be empty."""
    kept: list[Sample] = []
    labels = validated = 0
    for sample in photographs.samples:
        path = _resolved(sample.image)
        if known.is_label(path):
            labels += 1
        elif path in known.validated:
            validated += 1
        else:
            kept.append(sample)
    if not labels and not validated:
        return photographs, ""
    counted = ((labels, "label files"), (validated, "validation images"))
    left_out = " and ".join(f"{number} {what}" for number, what in counted if number)
    return dataclasses.replace(photographs, samples=tuple(kept)), left_out


def _resolved(path: Path) -> Path:
    # Unlike Path.resolve it passes over links that lead round in circles; reading names those.
    return Path(os.path.realpath(path))
