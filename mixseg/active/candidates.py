"""The images that may be chosen: those of a run that have no label, or any folder of images."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from mixseg.config.sections import Settings
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset
from mixseg.data.unlabeled import open_unlabeled
from mixseg.errors import ConfigError, DataError
from mixseg.training.data import RunData, TrainingData

LOG = logging.getLogger("mixseg")


@final
@dataclass(frozen=True)
class Candidates:
    """Images that may be chosen.

    Attributes:
        dataset: Where they lie.
        indices: Which of its samples they are.
        data: The data of the run; None where they cannot be opened.
    """

    dataset: SegmentationDataset
    indices: tuple[int, ...]
    data: TrainingData | None = None

    @property
    def of_run(self) -> bool:
        """Whether they are images of the split that the labels of the run come from."""
        return self.data is not None and self.data.labeled is self.dataset

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The images, in the order of the data set."""
        return tuple(self.dataset.samples[index] for index in self.indices)


def as_trained(settings: Settings, run: Path) -> Settings:
    """Settings whose labeled and held-out images are those that the folder of a run records.

    The data may have more images by now, of which a fraction would draw others.
    """
    data, labeled, held_out = settings.data, run / "labeled.txt", run / "val.txt"
    # A pair of lists names the unlabeled images as well; a comma would make a path a pair.
    if not settings.two_domains and labeled.is_file() and "," not in f"{data.labeled}{labeled}":
        data = dataclasses.replace(data, labeled=str(labeled))
    if data.val is not None and held_out.is_file() and "," not in str(held_out):
        data = dataclasses.replace(data, val=str(held_out))
    return dataclasses.replace(settings, data=data)


def open_candidates(settings: Settings, classes: ClassSet, images: Path | None) -> Candidates:
    """Open the images that may be chosen, without those that are labeled or validated on.

    Messages say what was left out.

    Args:
        settings: Of the run, from :func:`as_trained`.
        classes: Of the network.
        images: Folder or list file; None takes the unlabeled images of the run.

    Raises:
        DataError: There is no image, or all are left out.
        ConfigError: The data of the run are needed, and were handed in from Python.
    """
    data: TrainingData | None
    if images is None:
        data = RunData(settings).training()
        dataset, found = data.unlabeled, data.unlabeled_indices
    else:
        dataset = open_unlabeled(images, classes)
        data = _opened(settings)
        if data is not None:
            further = dataclasses.replace(settings.data, unlabeled=str(images))
            run_data = RunData(dataclasses.replace(settings, data=further))
            dataset, notes = run_data.photographs((data.labeled,), data.val)
            for note in notes:
                LOG.info(note)
        found = tuple(range(len(dataset)))
    labeled = set() if data is None else _files(data.labeled, data.split.labeled)
    indices = tuple(i for i in found if os.path.realpath(dataset.samples[i].image) not in labeled)
    if len(indices) < len(found):
        left_out = len(found) - len(indices)
        LOG.info(f"note: {left_out} images of {dataset.root} are labeled already and left out")
    if not indices:
        raise DataError(
            f"{images or dataset.root}: "
            + ("all images are labeled already" if found else "there is no unlabeled image")
            + "; give a folder of others with --images DIR"
        )
    return Candidates(dataset, indices, data)


def _opened(settings: Settings) -> TrainingData | None:
    try:
        return RunData(settings).training()
    except (DataError, ConfigError) as error:
        LOG.warning(
            f"note: the data of the run cannot be opened ({error}), so images that are labeled "
            "already are not left out"
        )
        return None


def _files(dataset: SegmentationDataset, indices: Iterable[int]) -> set[str]:
    return {os.path.realpath(dataset.samples[index].image) for index in indices}
