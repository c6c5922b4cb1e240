"""The parts of a run's data, each of which can be opened and read by itself."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mixseg.config.sections import Settings
from mixseg.data.class_maps import class_map
from mixseg.data.contract import SegmentationDataset
from mixseg.data.pairing import pair_present
from mixseg.data.splits import split_labeled
from mixseg.errors import ConfigError, DataError
from mixseg.training.data import (
    open_photographs_of,
    open_source,
    open_split,
    open_validation,
    streams_of,
)

LOG = logging.getLogger("mixseg")


class Part(NamedTuple):
    """A part of a run's data.

    Attributes:
        name: ``training``, ``source``, ``target``, ``unlabeled`` or ``validation``.
        setting: Where it is named, for what cannot be opened.
        dataset: Lists its files.
        labeled: Whether its images have to have labels.
    """

    name: str
    setting: str
    dataset: Callable[[], SegmentationDataset]
    labeled: bool


def parts_of(settings: Settings) -> Iterator[Part]:
    """All parts of a run's data.

    Of one domain all labels of the training split are read, whichever of them a run takes; of a
    target only the images, since its labels are not used (but for ``targets.alignment: target``).
    """
    data = settings.data
    # By default an image without a label is a problem, and each of them is named.
    pair = None if settings.skips_unpaired else pair_present

    def training() -> SegmentationDataset:
        dataset = open_split(settings, data.train_split, pair)
        held_out = [one.id for one in validation().samples] if data.val is not None else []
        ids = [sample.id for sample in dataset.samples]
        split_labeled(ids, data.labeled, settings.split_seed, held_out)  # refuses what is not there
        return dataset

    def target() -> SegmentationDataset:
        return open_split(settings, data.train_split, pair_present)

    def validation() -> SegmentationDataset:
        return open_validation(settings, pair)

    def source() -> SegmentationDataset:
        dataset = open_source(settings, pair)
        ids = [sample.id for sample in dataset.samples]
        split_labeled(ids, settings.source_domain.labeled, settings.split_seed)
        file = settings.source_domain.class_map
        given = None if file is None else Path(file).expanduser()
        classes = (_opened(validation) or target()).classes
        return class_map(dataset.classes, classes, given).apply(dataset)

    def photographs() -> SegmentationDataset:
        # What is wrong with the others is said where they are read themselves.
        labeled = _opened(source if settings.two_domains else training)
        opened = () if labeled is None else (labeled,)
        dataset, notes = open_photographs_of(settings, opened, _opened(validation))
        for note in notes:
            LOG.info(note)
        return dataclasses.replace(dataset, passed_over="")  # is among the notes

    if settings.two_domains:
        yield Part("source", "source_domain", source, labeled=True)
    else:
        yield Part("training", "data", training, labeled=True)
    if data.unlabeled is not None:
        yield Part("unlabeled", "data.unlabeled", photographs, labeled=False)
    elif settings.two_domains and "unlabeled" in streams_of(settings):
        counted = settings.targets.alignment == "target"
        yield Part("target", "data.train_split", target, labeled=counted)
    setting = "data.val_split" if data.val is None else "data.val"
    yield Part("validation", setting, validation, labeled=True)


def _opened(part: Callable[[], SegmentationDataset]) -> SegmentationDataset | None:
    """The data set; None if it cannot be opened."""
    with contextlib.suppress(DataError, ConfigError):
        return part()
    return None
