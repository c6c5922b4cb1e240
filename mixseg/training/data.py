"""From settings to the images of a run: which are labeled, which are not, and where they lie."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from mixseg.config import effect
from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import ALIGNMENTS, Settings
from mixseg.data.check import (
    check_equal_sizes,
    check_same_size,
    check_samples,
    ids_in_labels,
    unseen_note,
    without_unequal_pairs,
)
from mixseg.data.class_maps import class_map
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.layout import Layout, open_dataset
from mixseg.data.pairing import Pairing, pair_labeled, pair_present, pair_samples
from mixseg.data.record import Record, record_of_training
from mixseg.data.splits import Split, hold_out, split_labeled
from mixseg.data.statistics import class_frequencies, frequencies_of, read_frequencies
from mixseg.data.unlabeled import open_photographs
from mixseg.errors import ConfigError, DataError, UnknownSplitError
from mixseg.losses import needs_class_shares
from mixseg.registry import BUILT_IN, LAYOUTS, PYTHON
from mixseg.scenes import LAYOUTS as SCENE_LAYOUTS
from mixseg.scenes import Look, ensure_demo
from mixseg.training.from_python import NO_OBJECTS, Objects

LOG = logging.getLogger("mixseg")

ALIGNMENT_LABELS = 1000
"""Most label files that are counted to know the distribution that is aligned to."""


@final
@dataclass(frozen=True)
class TrainingData:
    """The data of a run.

    Attributes:
        labeled: Where labeled images come from: the training split, or the source domain with
            its labels turned into the target's.
        split: Which of them are labeled.
        unlabeled: Where unlabeled images come from.
        unlabeled_indices: Which of them are used.
        val: Validation split, or what is held out of the training split in its place.
        notes: What people should know of it, one line each.
        class_map: The classes of the source and where they go, YAML; empty for one domain.
        distribution: Share of each class that pseudo-labels are aligned to, float64, shape (C,);
            None for no alignment.
        frequencies: Share of each class among the labeled pixels, float64, shape (C,); None where
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

    @functools.cached_property
    def record(self) -> Record:
        """What a run rests on in its data; every label file is looked at once."""
        ids = [self.unlabeled.samples[index].id for index in self.unlabeled_indices]
        return record_of_training(self.val, self.labeled, self.split.labeled, ids)

    @property
    def classes(self) -> ClassSet:
        """The classes that the network tells apart."""
        return self.val.classes


def check_data_settings(settings: Settings) -> None:
    """Refuse what cannot be opened, before anything is read."""
    data, source = settings.data, settings.source_domain
    if data.root is None and data.dataset not in BUILT_IN:
        raise ConfigError(
            f"data.root: where is {data.dataset}? Give its folder with --data-root DIR"
        )
    if source.dataset is not None:
        built_in = source.dataset in BUILT_IN or (
            data.dataset == "demo" and data.root is None and source.dataset in SCENE_LAYOUTS
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
        own["data.val"] = None
    settings = resolve_settings([], own | overrides)
    if settings.data.dataset != "demo" and settings.data.root is None:
        raise ConfigError("--data-root DIR is needed: the checkpoint does not say where data is")
    return settings


def streams_of(settings: Settings) -> tuple[str, ...]:
    """The streams that the method of a run takes, known before it is built."""
    return effect.streams_of({"method": settings.method} | dict(settings.options))


def open_split(settings: Settings, split: str, pair: Pairing | None = None) -> SegmentationDataset:
    """A split of the data that the settings name; the demo's scenes are written on first use.

    Args:
        settings: Of a run.
        split: Name of the split.
        pair: Gives the samples; by default as ``data.unpaired`` says.
    """
    data = settings.data
    if data.dataset == PYTHON:
        raise ConfigError(
            "the images of this run were handed in from Python: use mixseg.resume or "
            "mixseg.evaluate with them, or name a data set"
        )
    if data.dataset == "demo" and data.root is None:
        return _open_scenes(settings, settings.demo.look, "cityscapes", split)
    return _open_paired(settings, "data", data.dataset, data.root, split, pair)


def open_validation(
    settings: Settings,
    pair: Pairing | None = None,
    train: SegmentationDataset | None = None,
) -> SegmentationDataset:
    """The images that are validated on: the validation split, or what ``data.val`` holds out.

    Args:
        settings: Of a run.
        pair: Gives the samples of the validation split, as in :func:`open_split`.
        train: The training split where it is open already.

    Raises:
        DataError: It cannot be opened; where there is none, the message says what to do instead.
    """
    data = settings.data
    if data.val is not None:
        # Of a target, which needs no labels, those images are held out that have one.
        train = train or open_split(settings, data.train_split, pair_present)
        return hold_out(train, data.val, settings.split_seed)
    try:
        return open_split(settings, data.val_split, pair)
    except UnknownSplitError as error:
        root = Path(data.root or "").expanduser()
        root = root if root.is_dir() else root.parent
        raise UnknownSplitError(
            f"there is no validation split: {error}. Hold out a part of the labeled images with "
            f"--val 1/5; or put validation images into {root / 'images' / data.val_split} and "
            f"their labels into "
            f"{root / 'labels' / data.val_split}; or give --data.val_split {data.train_split}, "
            "whose scores are those of training images and say nothing about new ones"
        ) from error


def open_judged(
    settings: Settings, split: str | None, run: Path
) -> tuple[SegmentationDataset, str]:
    """The images that a trained network is judged by, and what they are called.

    Args:
        settings: Of its run.
        split: Name of a split; by default the images that the run was validated on.
        run: Its folder, whose record of images that were held out counts where there is one: the
            data may have more images by now, and what is drawn from them would be others.
    """
    if split is not None or settings.data.val is None:
        split = split or settings.data.val_split
        return open_split(settings, split), split
    record = run / "val.txt"
    given = str(record) if record.is_file() else settings.data.val
    data = dataclasses.replace(settings.data, val=given)
    held_out = open_validation(dataclasses.replace(settings, data=data))
    return held_out, f"{settings.data.train_split}, held out"


def open_source(settings: Settings, pair: Pairing | None = None) -> SegmentationDataset:
    """The source domain with its own classes; arguments as in :func:`open_split`."""
    source = settings.source_domain
    assert source.dataset is not None
    if source.root is not None:
        return _open_paired(
            settings, "source_domain", source.dataset, source.root, source.split, pair
        )
    look: Look = "render" if settings.demo.look == "camera" else "camera"
    layout = "cityscapes" if source.dataset == "demo" else source.dataset
    return _open_scenes(settings, look, layout, source.split)


def _open_paired(
    settings: Settings,
    section: str,
    dataset: str,
    root: str | None,
    split: str,
    pair: Pairing | None,
) -> SegmentationDataset:
    """A split in a folder, without its images that have no label where these may be left out."""
    name, layout = layout_with_options(dataset, section, settings.options)
    folder = Path(root or "").expanduser()
    own = pair_labeled if settings.skips_unpaired else pair_samples
    return open_dataset(name, folder, split, pair or own, layout)


def layout_with_options(
    dataset: str, section: str, options: Mapping[str, Any]
) -> tuple[str, Layout]:
    """Name and layout of a data set, with the options that a section of the settings gives it."""
    name = "cityscapes" if dataset == "demo" else dataset
    return name, LAYOUTS.build(name, options, section)


def open_photographs_of(
    settings: Settings, labeled: Sequence[SegmentationDataset], val: SegmentationDataset | None
) -> tuple[SegmentationDataset, tuple[str, ...]]:
    """The images of ``data.unlabeled``, and notes on files that were left out.

    Args:
        settings: Of a run, with ``data.unlabeled``.
        labeled: Splits that the run takes labels from.
        val: What it validates on, whose images are left out too, unless they are what is trained
            on; None where that cannot be opened.

    Raises:
        DataError: There is no image, or all are left out.
    """
    data, source = settings.data, settings.source_domain
    assert data.unlabeled is not None
    vals = () if val is None else (val,)
    own_val = data.val is not None or data.val_split != data.train_split
    folders = [
        (*layout_with_options(name, section, settings.options), Path(root).expanduser())
        for section, name, root in (
            ("data", data.dataset, data.root),
            ("source_domain", source.dataset, source.root),
        )
        if name is not None and root is not None
    ]
    unlabeled = Path(data.unlabeled).expanduser()
    return open_photographs(unlabeled, (*labeled, *vals), vals if own_val else (), folders)


def unpaired_notes(*datasets: SegmentationDataset) -> list[str]:
    """What people should know of images that were left out, a line for each data set with some."""
    return [
        f"{len(dataset.unpaired)} images of {dataset.name} {dataset.split!r} have no label and are "
        f"left out; the first is {dataset.unpaired[0]}"
        for dataset in datasets
        if dataset.unpaired
    ]


def _open_scenes(settings: Settings, look: Look, layout: str, split: str) -> SegmentationDataset:
    """A split of the built-in scenes, as files of a layout."""
    demo = settings.demo
    counts = {"train": demo.train_images, "val": demo.val_images}
    root = ensure_demo(
        look=look,
        counts={split: counts[split] for split in SCENE_LAYOUTS[layout].splits},
        size=demo.size,
        seed=demo.seed,
        layout=layout,
        progress=Announcement(),
    )
    return open_dataset(layout, root, split)


@final
class Announcement:
    """Says once that demo scenes are being drawn."""

    def __init__(self) -> None:
        self.said = False

    def __call__(self, done: int, total: int) -> None:
        """Called for each scene."""
        if not self.said:
            LOG.info(f"drawing {total} demo scenes, once")
            self.said = True


def open_training_data(settings: Settings, objects: Objects = NO_OBJECTS) -> TrainingData:
    """Open and check the data of a run.

    Raises:
        DataError: Something is missing or not as it should be.
    """
    opened = _two_domains if settings.two_domains else _one_domain
    data = opened(settings, objects)
    uses_unlabeled = "unlabeled" in streams_of(settings)
    if uses_unlabeled and not data.unlabeled_indices:
        without = (
            "leave them out with --distillation.unlabeled 0"
            if effect.takes_part(settings.method, "trained_teacher")
            else "train with --method supervised"
        )
        raise DataError(
            f"data.labeled {settings.data.labeled} leaves no unlabeled image. Use fewer labels, "
            f"give a folder with --unlabeled DIR, or {without}"
        )
    bare = [index for index in data.split.labeled if data.labeled.samples[index].label is None]
    if bare:
        raise DataError(
            f"{len(bare)} of the labeled images of {data.labeled.name} {data.labeled.split!r} "
            f"have no label, the first is {data.labeled.samples[bare[0]].image}"
            + f"; looked for {data.labeled.looked_for}"
            * bool(data.labeled.looked_for)
        )
    skip_bad = settings.data.skip_bad
    read = check_samples(data.labeled, data.split.labeled, skip_bad=skip_bad)
    read |= check_samples(data.val, range(len(data.val)))
    notes = (*data.notes, *_passed_over(settings, data), *_unseen_classes(data, read))
    data = dataclasses.replace(data, notes=notes)
    if any(sample.label is None for sample in data.val.samples):
        raise DataError(
            f"data.val_split {settings.data.val_split!r} of {data.val.name} has no labels; hold "
            "out a part of the labeled images for validation with --val 1/5"
        )
    if not settings.crops:
        source = settings.source_domain if settings.two_domains else settings.data
        labeled = (data.labeled, data.split.labeled, source.resize)
        unlabeled = (data.unlabeled, data.unlabeled_indices, settings.data.resize)
        for dataset, indices, resize in (labeled, unlabeled):
            if resize is None:
                check_equal_sizes(dataset, indices, skip_bad=skip_bad)
        if settings.options.get("mixing.domains") == "inter":
            check_same_size(data.labeled, source.resize, data.unlabeled, settings.data.resize)
    if not effect.takes_part(settings.method, "teacher"):
        return data
    return dataclasses.replace(data, distribution=_distribution(settings, data))


def _passed_over(settings: Settings, data: TrainingData) -> Iterator[str]:
    """Notes on pictures of other kinds beside the images of the splits."""
    datasets = [data.labeled, data.val]
    if settings.data.unlabeled is None:  # those of photographs are among the notes already
        datasets.append(data.unlabeled)
    for note in dict.fromkeys(dataset.passed_over for dataset in datasets):
        if note:
            yield f"note: {note}"


def _unseen_classes(data: TrainingData, read_already: Mapping[Path, bytes]) -> Iterator[str]:
    """Notes on classes that no labeled image, or no validation image, shows."""
    parts = [(data.labeled, data.split.labeled), (data.val, tuple(range(len(data.val))))]
    for dataset, indices in parts:
        ids, read = ids_in_labels(dataset, indices, known=read_already)
        note = unseen_note(dataset, ids, read, len(indices))
        if note:
            yield f"note: {note}"


def _one_domain(settings: Settings, objects: Objects) -> TrainingData:
    """Labelled and unlabeled images of one training split."""
    data = settings.data
    train = objects.train or open_split(settings, data.train_split)
    val = objects.val or open_validation(settings, train=train)
    ids = [sample.id for sample in train.samples]
    held_out = [sample.id for sample in val.samples] if data.val is not None else []
    split = split_labeled(ids, data.labeled, settings.split_seed, held_out)
    unlabeled, indices = train, split.unlabeled
    notes = unpaired_notes(train, val)
    if objects.val is None:
        notes += _held_out_notes(settings, train, val)
    if objects.unlabeled is not None:
        unlabeled, indices = objects.unlabeled, tuple(range(len(objects.unlabeled)))
    elif data.unlabeled is not None:
        unlabeled, left_out_files = open_photographs_of(settings, (train,), val)
        notes += left_out_files
        indices = tuple(range(len(unlabeled)))
    return TrainingData(train, split, unlabeled, indices, val, tuple(notes))


def _two_domains(settings: Settings, objects: Objects) -> TrainingData:
    """Labelled images of the source, unlabeled ones of the target.

    Labels of the target are read by validation, and where ``targets.alignment`` is ``target``.
    """
    data = settings.data
    source = objects.source or open_source(settings)
    target = objects.train
    takes_target = (data.unlabeled, objects.unlabeled) == (
        None,
        None,
    ) and "unlabeled" in streams_of(settings)
    if target is None and (data.val is not None or takes_target):
        # Of which images are needed, and labels only to validate by.
        target = open_split(settings, data.train_split, pair_present)
    val = objects.val or open_validation(settings, train=target)
    held_out = [sample.id for sample in val.samples] if data.val is not None else []
    file = settings.source_domain.class_map
    map_file = None if file is None else Path(file).expanduser()
    classes = class_map(source.classes, val.classes, map_file)
    notes = [f"classes of {source.name}: {line}" for line in classes.describe(source.absent)]
    if len(source) > 2000:
        LOG.info(f"comparing the sizes of {len(source)} pairs of {source.name}")
    notes += unpaired_notes(source, val)
    source, left_out = without_unequal_pairs(source, skip_bad=data.skip_bad)
    if left_out:
        notes.append(
            f"left out {len(left_out)} pairs of {source.name} whose image and label differ in "
            f"size; the first is {left_out[0]}"
        )
    ids = [sample.id for sample in source.samples]
    split = split_labeled(ids, settings.source_domain.labeled, settings.split_seed)
    if target is not None and objects.val is None:
        notes += _held_out_notes(settings, target, val)
    if objects.unlabeled is not None:
        unlabeled = objects.unlabeled
    elif data.unlabeled is not None:
        unlabeled, left_out_files = open_photographs_of(settings, (source,), val)
        notes += left_out_files
    elif takes_target and target is not None:
        missing = sum(sample.label is None for sample in target.samples)
        if missing:
            notes.append(f"{missing} images of the target have no label, and need none")
        kept = tuple(sample for sample in target.samples if sample.id not in set(held_out))
        unlabeled = dataclasses.replace(target, samples=kept)
    else:
        unlabeled = dataclasses.replace(val, samples=())
    return TrainingData(
        labeled=classes.apply(source),
        split=split.holding_out(held_out),
        unlabeled=unlabeled,
        unlabeled_indices=tuple(range(len(unlabeled))),
        val=val,
        notes=tuple(notes),
        class_map=classes.to_yaml(),
    )


def _held_out_notes(
    settings: Settings, train: SegmentationDataset, val: SegmentationDataset
) -> list[str]:
    """What ``data.val`` holds out, and whether a validation split is passed over for it."""
    data = settings.data
    if data.val is None:
        return []
    labeled = sum(sample.label is not None for sample in train.samples)
    line = (
        f"{len(val)} of {labeled} labeled images of {train.name} {train.split!r} are held out for "
        f"validation (data.val {data.val})"
    )
    if data.val_split != data.train_split:
        with contextlib.suppress(DataError, ConfigError):
            passed_over = open_split(settings, data.val_split, pair_present)
            line += f"; the {len(passed_over)} images of split {data.val_split!r} are not used"
    return [line]


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


def with_frequencies(
    settings: Settings, data: TrainingData, recorded: Path | None = None
) -> TrainingData:
    """The data with the share of each class among its labels, where a loss asks for it.

    Args:
        settings: Of the run; shares that they give come first.
        data: Of the run.
        recorded: Shares that an earlier process of the run counted, if there is such a file.

    Raises:
        DataError: A class is unknown or missing, or all shares are 0.
    """
    if not needs_class_shares(settings.supervised_loss.name):
        return data
    given = settings.options.get("supervised_loss.frequencies")
    if given is not None:
        where = "supervised_loss.frequencies"
        shares = frequencies_of(given, data.classes, where)
    elif recorded is not None and recorded.is_file():
        shares = read_frequencies(recorded, data.classes)
    else:
        indices = data.split.labeled
        LOG.info(f"counting the classes of {len(indices)} labels")
        shares = class_frequencies(data.labeled, indices, skip_bad=settings.data.skip_bad)
    return dataclasses.replace(data, frequencies=shares)


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
