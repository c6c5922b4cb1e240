"""The images that may be chosen: those of a run that have no label, or any folder of images."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.splits import id_lines
from mixseg.data.unlabeled import open_unlabeled
from mixseg.errors import ConfigError, DataError
from mixseg.training.data import RunData, TrainingData

LOG = logging.getLogger("mixseg")


class Labels(NamedTuple):
    """The labeled images that chosen ones join: of the target, if there is a source.

    Attributes:
        setting: Names them in the settings of a run.
        dataset: The training split.
        labeled: Indices of those that are labeled; none of a target without any.
        free: Indices of the others, but for those that are held out.
    """

    setting: str
    dataset: SegmentationDataset
    labeled: tuple[int, ...]
    free: tuple[int, ...]


def labels_of(settings: Settings, data: TrainingData) -> Labels | None:
    """The labels of a run that chosen images can join; None where its settings take none.

    Args:
        settings: Of the run.
        data: Opened by them.
    """
    if not settings.two_domains:
        return Labels("data.labeled", data.labeled, data.split.labeled, data.split.unlabeled)
    setting, target = "data.labeled_target", data.target
    if target is not None and data.target_split is not None:
        return Labels(setting, target, data.target_split.labeled, data.target_split.unlabeled)
    if setting in settings.options and settings.data.unlabeled is None and data.unlabeled_indices:
        return Labels(setting, data.unlabeled, (), data.unlabeled_indices)
    return None


@final
@dataclass(frozen=True)
class Candidates:
    """Images that may be chosen.

    Attributes:
        dataset: Where they lie.
        indices: Which of its samples they are.
        labels: Of the run; None where there are none of this domain, or nobody knows.
    """

    dataset: SegmentationDataset
    indices: tuple[int, ...]
    labels: Labels | None = None


def as_trained(settings: Settings, run: Path) -> Settings:
    """Settings whose labeled and held-out images are those that the folder of a run records.

    The data may have more images by now, of which a fraction would draw others.
    """
    flat, records = to_flat(settings), {"data.val": run / "val.txt"}
    if settings.two_domains:
        records["data.labeled_target"] = run / "target.txt"
    else:
        records["data.labeled"] = run / "labeled.txt"
    own = {
        setting: str(path)
        for setting, path in records.items()
        # A pair of lists names unlabeled images as well; a comma would make a path a pair.
        if flat.get(setting) is not None and "," not in f"{flat[setting]}{path}" and path.is_file()
    }
    return resolve_settings([], flat | own)


def open_candidates(settings: Settings, classes: ClassSet, images: Path | None) -> Candidates:
    """Open the images that may be chosen, without those that are labeled or validated on.

    Messages say what was left out.

    Args:
        settings: Of the run, from :func:`as_trained`.
        classes: Of the network.
        images: Folder or list file; None takes the unlabeled images of the run.

    Raises:
        DataError: There is no image, or all are left out, or no list can hold the name of one.
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
    labeled: set[str] = set()
    for stream in () if data is None else data.with_labels.values():
        labeled |= _files(*stream)
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
    id_lines(dataset, indices)  # refuses what cannot stand on a line of its own
    return Candidates(dataset, indices, None if data is None else labels_of(settings, data))


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
