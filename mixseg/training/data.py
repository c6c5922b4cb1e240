"""From settings to the images of a run: which are labelled, which are not, and where they lie."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from mixseg.config import ALIGNMENTS, Settings, resolve_settings
from mixseg.data.check import (
    check_equal_sizes,
    check_same_size,
    check_samples,
    without_unequal_pairs,
)
from mixseg.data.class_maps import class_map
from mixseg.data.contract import ClassSet, Sample, SegmentationDataset
from mixseg.data.demo import LAYOUTS, Look, ensure_demo
from mixseg.data.frequencies import class_frequencies, read_frequencies
from mixseg.data.pairing import MissingLabelsError, Pairing, pair_samples
from mixseg.data.record import Record, record_of_training
from mixseg.data.registry import DATASETS, open_dataset
from mixseg.data.splits import Split, split_labeled
from mixseg.errors import ConfigError, DataError, UnknownSplitError, unknown_name
from mixseg.methods import METHODS
from mixseg.terminal import say
from mixseg.training.photographs import open_photographs

ALIGNMENT_LABELS = 1000
"""Most label files that are counted to know the distribution that is aligned to."""


@final
@dataclass(frozen=True)
class TrainingData:
    """The data of a run.

    Attributes:
        labeled: Where labelled images come from: the training split, or the source domain with
            its labels turned into the target's.
        split: Which of them are labelled.
        unlabeled: Where unlabelled images come from.
        unlabeled_indices: Which of them are used.
        val: Validation split.
        notes: What people should know of it, one line each.
        class_map: The classes of the source and where they go, YAML; empty for one domain.
        distribution: Share of each class that pseudo-labels are aligned to, float64, shape (C,);
            None for no alignment.
        frequencies: Share of each class among the labelled pixels, float64, shape (C,); None where
            no loss asks for it.
    """

    labeled: SegmentationDataset
    split: Split
    unlabeled: SegmentationDataset
    unlabeled_indices: tuple[int, ...]
    val: SegmentationDataset
    notes: tuple[str, ...] = ()
    class_map: str = ""
    distribution: NDArray[np.float64] | None = None
    frequencies: NDArray[np.float64] | None = None

    @property
    def classes(self) -> ClassSet:
        """The classes that the network tells apart."""
        return self.val.classes


def record_of(data: TrainingData) -> Record:
    """What a run rests on in its data."""
    ids = [data.unlabeled.samples[index].id for index in data.unlabeled_indices]
    return record_of_training(data.val, data.labeled, data.split.labeled, ids)


def check_dataset_name(name: str, given: str) -> None:
    """Raise a ConfigError for a data set that is not there; ``given`` is where it was named."""
    known = ("demo", *DATASETS)
    if name not in known:
        raise ConfigError(f"{given}: {unknown_name('dataset', name, known)}")


def check_data_settings(settings: Settings) -> None:
    """Refuse what cannot be opened, before anything is read."""
    data, source = settings.data, settings.source_domain
    check_dataset_name(data.dataset, "data.dataset")
    if data.root is None and data.dataset != "demo":
        raise ConfigError(
            f"data.root: where is {data.dataset}? Give its folder with --data-root DIR"
        )
    if source.dataset is not None:
        check_dataset_name(source.dataset, "source_domain.dataset")
        built_in = source.dataset == "demo" or (
            data.dataset == "demo" and data.root is None and source.dataset in LAYOUTS
        )
        if source.root is None and not built_in:
            raise ConfigError(
                f"source_domain.root: where is {source.dataset}? Give its folder with "
                "--source-root DIR"
            )
    alignment = settings.targets.alignment
    if alignment not in ALIGNMENTS and not Path(alignment).expanduser().is_file():
        raise ConfigError(
            f"targets.alignment {alignment!r} is neither one of {', '.join(ALIGNMENTS)} nor a file"
        )


def settings_on(
    flat: Mapping[str, Any], dataset: str | None = None, root: str | None = None
) -> Settings:
    """The settings of a run, on its own data or on others.

    Args:
        flat: Setting path -> value, as checkpoints hold them.
        dataset: Layout of other data; None keeps the run's.
        root: Folder of other data; None keeps the run's where the layout does.

    Raises:
        ConfigError: It is not said where the data are.
    """
    given = {"data.dataset": dataset, "data.root": root}
    overrides = {key: value for key, value in given.items() if value is not None}
    own = dict(flat)
    if dataset not in (None, own.get("data.dataset")):
        own["data.root"] = None  # is that of another data set
    settings = resolve_settings([], own | overrides)
    if settings.data.dataset != "demo" and settings.data.root is None:
        raise ConfigError("--data-root DIR is needed: the checkpoint does not say where data is")
    return settings


def open_split(
    settings: Settings, split: str, console: Console, pair: Pairing = pair_samples
) -> SegmentationDataset:
    """A split of the data that the settings name; the demo's scenes are written on first use."""
    data = settings.data
    if data.dataset != "demo":
        return open_dataset(data.dataset, Path(data.root or "").expanduser(), split, pair)
    if data.root is not None:
        return open_dataset("cityscapes", Path(data.root).expanduser(), split, pair)
    return _open_scenes(settings, settings.demo.look, "cityscapes", split, console)


def open_validation(
    settings: Settings, console: Console, pair: Pairing = pair_samples
) -> SegmentationDataset:
    """The validation split.

    Raises:
        DataError: It cannot be opened; where there is none, the message says what to do instead.
    """
    data = settings.data
    try:
        return open_split(settings, data.val_split, console, pair)
    except UnknownSplitError as error:
        root = Path(data.root or "").expanduser()
        root = root if root.is_dir() else root.parent
        raise UnknownSplitError(
            f"{error}. Put the validation images into {root / 'images' / data.val_split} and their "
            f"labels into {root / 'labels' / data.val_split}; or give --data.val_split "
            f"{data.train_split}, whose scores are those of training images and say nothing about "
            "new ones"
        ) from error


def open_source(
    settings: Settings, console: Console, pair: Pairing = pair_samples
) -> SegmentationDataset:
    """The source domain with its own classes."""
    source = settings.source_domain
    assert source.dataset is not None
    layout = "cityscapes" if source.dataset == "demo" else source.dataset
    if source.root is not None:
        return open_dataset(layout, Path(source.root).expanduser(), source.split, pair)
    look: Look = "render" if settings.demo.look == "camera" else "camera"
    return _open_scenes(settings, look, layout, source.split, console)


def _open_scenes(
    settings: Settings, look: Look, layout: str, split: str, console: Console
) -> SegmentationDataset:
    """A split of the built-in scenes, as files of a layout."""
    demo = settings.demo
    counts = {"train": demo.train_images, "val": demo.val_images}
    root = ensure_demo(
        look=look,
        counts={split: counts[split] for split in LAYOUTS[layout].splits},
        size=demo.size,
        seed=demo.seed,
        layout=layout,
        progress=Announcement(console),
    )
    return open_dataset(layout, root, split)


@final
class Announcement:
    """Says once that demo scenes are being drawn."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.said = False

    def __call__(self, done: int, total: int) -> None:
        """Called for each scene."""
        if not self.said:
            say(self.console, f"drawing {total} demo scenes, once")
            self.said = True


def open_training_data(settings: Settings, console: Console) -> TrainingData:
    """Open and check the data of a run.

    Raises:
        DataError: Something is missing or not as it should be.
    """
    opened = _two_domains if settings.two_domains else _one_domain
    data = opened(settings, console)
    uses_unlabeled = "unlabeled" in METHODS[settings.method].streams_of(settings)
    if uses_unlabeled and not data.unlabeled_indices:
        without = (
            "leave them out with --distillation.unlabeled 0"
            if settings.method == "distillation"
            else "train with --method supervised"
        )
        raise DataError(
            f"data.labeled {settings.data.labeled} leaves no unlabelled image. Use fewer labels, "
            f"give a folder with --unlabeled DIR, or {without}"
        )
    bare = [index for index in data.split.labeled if data.labeled.samples[index].label is None]
    if bare:
        raise DataError(
            f"{len(bare)} of the labelled images of {data.labeled.name} {data.labeled.split!r} "
            f"have no label, the first is {data.labeled.samples[bare[0]].image}"
        )
    skip_bad = settings.data.skip_bad
    check_samples(data.labeled, data.split.labeled, skip_bad=skip_bad)
    check_samples(data.val, range(len(data.val)))
    if any(sample.label is None for sample in data.val.samples):
        raise DataError(
            f"data.val_split {settings.data.val_split!r} of {data.val.name} has no labels"
        )
    if not settings.crops:
        source = settings.source_domain if settings.two_domains else settings.data
        labeled = (data.labeled, data.split.labeled, source.resize)
        unlabeled = (data.unlabeled, data.unlabeled_indices, settings.data.resize)
        for dataset, indices, resize in (labeled, unlabeled):
            if resize is None:
                check_equal_sizes(dataset, indices, skip_bad=skip_bad)
        if settings.method == "domain_adaptation" and settings.mixing.domains == "inter":
            check_same_size(data.labeled, source.resize, data.unlabeled, settings.data.resize)
    if not METHODS[settings.method].mixes_unlabeled:
        return data
    return dataclasses.replace(data, distribution=_distribution(settings, data))


def _one_domain(settings: Settings, console: Console) -> TrainingData:
    """Labelled and unlabelled images of one training split."""
    data = settings.data
    train = open_split(settings, data.train_split, console)
    val = open_validation(settings, console)
    ids = [sample.id for sample in train.samples]
    split = split_labeled(ids, data.labeled, settings.split_seed)
    unlabeled, indices = train, split.unlabeled
    notes: tuple[str, ...] = ()
    if data.unlabeled is not None:
        unlabeled, notes = open_photographs(settings, (train,), val)
        indices = tuple(range(len(unlabeled)))
    return TrainingData(train, split, unlabeled, indices, val, notes)


def _two_domains(settings: Settings, console: Console) -> TrainingData:
    """Labelled images of the source, unlabelled ones of the target.

    Labels of the target are read by validation, and where ``targets.alignment`` is ``target``.
    """
    data = settings.data
    source = open_source(settings, console)
    val = open_validation(settings, console)
    file = settings.source_domain.class_map
    map_file = None if file is None else Path(file).expanduser()
    classes = class_map(source.classes, val.classes, map_file)
    notes = [f"classes of {source.name}: {line}" for line in classes.describe(source.absent)]
    if len(source) > 2000:
        say(console, f"comparing the sizes of {len(source)} pairs of {source.name}")
    source, left_out = without_unequal_pairs(source, skip_bad=data.skip_bad)
    if left_out:
        notes.append(
            f"left out {len(left_out)} pairs of {source.name} whose image and label differ in "
            f"size; the first is {left_out[0]}"
        )
    ids = [sample.id for sample in source.samples]
    split = split_labeled(ids, settings.source_domain.labeled, settings.split_seed)
    if data.unlabeled is not None:
        unlabeled, left_out_files = open_photographs(settings, (source,), val)
        notes += left_out_files
    elif "unlabeled" in METHODS[settings.method].streams_of(settings):
        unlabeled, missing = _open_target(settings, val, console)
        if missing:
            notes.append(f"{missing} images of the target have no label, and need none")
    else:
        unlabeled = dataclasses.replace(val, samples=())
    return TrainingData(
        labeled=classes.apply(source),
        split=split,
        unlabeled=unlabeled,
        unlabeled_indices=tuple(range(len(unlabeled))),
        val=val,
        notes=tuple(notes),
        class_map=classes.to_yaml(),
    )


def _open_target(
    settings: Settings, val: SegmentationDataset, console: Console
) -> tuple[SegmentationDataset, int]:
    """The target's training split, of which only images are needed, and how many lack a label."""
    split = settings.data.train_split
    try:
        return open_split(settings, split, console), 0
    except MissingLabelsError as error:
        samples = tuple(sorted(Sample(key, path) for key, path in error.images.items()))
        root = Path(os.path.commonpath([sample.image.parent for sample in samples]))
        return dataclasses.replace(val, root=root, split=split, samples=samples), error.missing


def _distribution(settings: Settings, data: TrainingData) -> NDArray[np.float64] | None:
    alignment = settings.targets.alignment
    if alignment == "none":
        return None
    if alignment == "uniform":
        return np.full(len(data.classes), 1 / len(data.classes))
    if alignment == "labeled":
        return class_frequencies(
            data.labeled, data.split.labeled, ALIGNMENT_LABELS, skip_bad=settings.data.skip_bad
        )
    if alignment == "target":
        if any(sample.label is None for sample in data.unlabeled.samples):
            raise DataError(
                f"targets.alignment target counts labels of the target, but images of "
                f"{data.unlabeled.root} have none; give shares in a file, or take labeled"
            )
        return class_frequencies(data.unlabeled, data.unlabeled_indices, ALIGNMENT_LABELS)
    return read_frequencies(Path(alignment).expanduser(), data.classes)


def training_size(settings: Settings, stream: str, data: TrainingData | None) -> tuple[int, int]:
    """Height and width of the images of a stream: the crop, or what comes in its place.

    Args:
        settings: Of a run.
        stream: ``labeled`` or ``unlabeled``.
        data: Whose first image is looked at where neither crop nor resize is set; None if it is
            not there.

    Raises:
        ConfigError: Only the data could tell, and it is not there.
    """
    from_source = stream == "labeled" and settings.two_domains
    domain = settings.source_domain if from_source else settings.data
    given = settings.data.crop or domain.resize
    if given is not None:
        return given
    if data is not None:
        if stream == "labeled":
            return data.labeled.size(data.split.labeled[0])
        return data.unlabeled.size(data.unlabeled_indices[0])
    if domain.root is None and "demo" in (domain.dataset, settings.data.dataset):
        return settings.demo.size
    raise ConfigError(
        f"the size of {stream} images is not known without data: set data.crop, or resize them, or "
        "leave --images out"
    )
