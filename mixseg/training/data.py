"""The data of a run: which images are labeled, which are not, and where they lie."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from mixseg.config import effect
from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.config.sections import ALIGNMENTS, Settings
from mixseg.config.values import Size
from mixseg.data.borders import LABELS, named_pairs, read_pairs, related_by_borders
from mixseg.data.check import (
    check_equal_sizes,
    check_same_size,
    check_samples,
    ids_in_labels,
    spread,
    unseen_note,
    without_unequal_pairs,
)
from mixseg.data.class_maps import class_map
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.layout import Layout, open_dataset
from mixseg.data.loading import default_workers
from mixseg.data.pairing import Pairing, pair_labeled, pair_present, pair_samples
from mixseg.data.record import Record, record_of_training
from mixseg.data.sampling import images_by_class
from mixseg.data.splits import Split, hold_out, split_labeled
from mixseg.data.statistics import (
    class_frequencies,
    frequencies_of,
    label_pixels,
    read_frequencies,
)
from mixseg.data.unlabeled import open_photographs
from mixseg.distributed import by_first, summed
from mixseg.errors import ConfigError, DataError, UnknownSplitError, named_first
from mixseg.registry import BUILT_IN, LAYOUTS, PYTHON
from mixseg.scenes import LAYOUTS as SCENE_LAYOUTS
from mixseg.scenes import Look, ensure_demo
from mixseg.training.from_python import NO_OBJECTS, Objects

LOG = logging.getLogger("mixseg")

ALIGNMENT_LABELS = 1000
"""Most label files that are counted to know the distribution that is aligned to."""


TELL_EVERY = 20.0
"""Seconds between messages on the progress of counting."""


@final
@dataclass(frozen=True)
class TrainingData:
    """The opened data of a run.

    Attributes:
        labeled: Training split, or the source domain with its labels turned into the target's.
        split: Which of its images are labeled. Its digest tells the split of the target as well.
        unlabeled: Where unlabeled images come from; ``unlabeled_indices`` are those that are used.
        val: Validation split, or what is held out of the training split in its place.
        notes: Messages for people, one line each.
        class_map: The classes of the source and where they go, YAML; empty for one domain.
        distribution: Share of each class that pseudo-labels are aligned to, float64, shape (C,).
        frequencies: Share of each class among the labeled pixels, float64, shape (C,), for parts
            that ask for it.
        related: Which classes belong together by the labels, bool, shape (C, C), for parts that ask
            for it.
        instances: Whether the instances in labeled images are read, too.
        class_pixels: Name of a labeled stream -> pixels of each class and of none in each of its
            label files, int64, shape (N, C + 1), where images are drawn by them.
        target: Training split of the target, of which some images are labeled next to the source.
        target_split: Which of its images are labeled; None without such a stream, as ``target``.
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
    related: NDArray[np.bool_] | None = None
    instances: bool = False
    class_pixels: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    target: SegmentationDataset | None = None
    target_split: Split | None = None

    @functools.cached_property
    def streams(self) -> dict[str, tuple[SegmentationDataset, tuple[int, ...]]]:
        """Name of a stream -> where its images come from, and the indices of those it has."""
        streams = {
            "labeled": (self.labeled, self.split.labeled),
            "unlabeled": (self.unlabeled, self.unlabeled_indices),
        }
        if self.target is not None and self.target_split is not None:
            streams["target"] = (self.target, self.target_split.labeled)
        return streams

    @property
    def with_labels(self) -> dict[str, tuple[SegmentationDataset, tuple[int, ...]]]:
        """Those of the streams whose images have labels."""
        return {name: one for name, one in self.streams.items() if name != "unlabeled"}

    @functools.cached_property
    def record(self) -> Record:
        """The data that the run depends on; every label file is looked at once."""
        ids = [self.unlabeled.samples[index].id for index in self.unlabeled_indices]
        target = None
        if "target" in self.streams:
            dataset, indices = self.streams["target"]
            target = [dataset.samples[index] for index in indices]
        return record_of_training(self.val, self.labeled, self.split.labeled, ids, target)

    @property
    def classes(self) -> ClassSet:
        """The classes that the network tells apart."""
        return self.val.classes


class Part(NamedTuple):
    """A part of a run's data that can be opened and read by itself.

    ``name`` is training, source, labeled target, target, unlabeled or validation; ``setting`` is
    where it is named; ``labeled`` is whether its images have to have labels.
    """

    name: str
    setting: str
    dataset: Callable[[], SegmentationDataset]
    labeled: bool


def settings_on(
    flat: Mapping[str, Any], dataset: str | None = None, root: str | None = None
) -> Settings:
    """The settings of a run (path -> value) on its own data, or on others where they are named."""
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


@final
class RunData:
    """Opens the data that the settings of a run name, or the objects in their place."""

    def __init__(self, settings: Settings, objects: Objects = NO_OBJECTS) -> None:
        self.settings = settings
        self.objects = objects
        self.data = settings.data
        self.domain = settings.source_domain

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that the method takes, known before it is built."""
        return effect.streams_of({"method": self.settings.method} | dict(self.settings.options))

    @property
    def asked(self) -> frozenset[str]:
        """What the parts of the run ask it for."""
        return effect.asked_of_run(to_flat(self.settings))

    def check(self) -> None:
        """Refuse what cannot be opened, before anything is read."""
        data, source = self.data, self.domain
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
        alignment = self.settings.targets.alignment
        if alignment not in ALIGNMENTS and not Path(alignment).expanduser().is_file():
            raise ConfigError(
                f"targets.alignment {alignment!r} is neither one of {', '.join(ALIGNMENTS)} nor a "
                "file"
            )

    def size(self, stream: str, opened: TrainingData | None) -> Size:
        """Height and width of the images of a stream: the crop, the resize, or the first image's.

        Raises:
            ConfigError: Only the data could tell, and they are not opened.
        """
        domain = self.settings.labeled_section if stream == "labeled" else self.data
        given = self.data.crop or domain.resize
        if given is not None:
            return given
        if opened is not None:
            dataset, indices = opened.streams[stream]
            return dataset.size(indices[0])
        if domain.root is None and "demo" in (domain.dataset, self.data.dataset):
            return self.settings.demo.size
        raise ConfigError(
            f"the size of {stream} images is not known without data: set data.crop, or resize "
            "them, or leave --images out"
        )

    # One part ---------------------------------------------------------------------------------

    def split(self, name: str, pair: Pairing | None = None) -> SegmentationDataset:
        """A split of the data; ``pair`` gives its samples, by default as ``data.unpaired`` says.

        The demo's scenes are drawn on first use.
        """
        if self.data.dataset == PYTHON:
            raise ConfigError(
                "the images of this run were handed in from Python: use mixseg.resume or "
                "mixseg.evaluate with them, or name a data set"
            )
        if self.data.dataset == "demo" and self.data.root is None:
            return self._scenes(self.settings.demo.look, "cityscapes", name)
        return self._in_folder("data", self.data.dataset, self.data.root, name, pair)

    def source(self, pair: Pairing | None = None) -> SegmentationDataset:
        """The source domain with its own classes; ``pair`` as for :meth:`split`."""
        domain, name = self.domain, self.domain.dataset
        assert name is not None
        if domain.root is not None:
            return self._in_folder("source_domain", name, domain.root, domain.split, pair)
        layout = "cityscapes" if name == "demo" else name
        return self._scenes(self._other_look, layout, domain.split)

    def source_root(self) -> Path:
        """The folder of the source domain; built-in scenes are drawn on first use."""
        domain = self.domain
        if domain.root is not None:
            return Path(domain.root).expanduser()
        assert domain.dataset is not None
        layout = "cityscapes" if domain.dataset == "demo" else domain.dataset
        return self._drawn(self._other_look, layout, domain.split)

    def _in_folder(
        self, section: str, dataset: str, root: str | None, split: str, pair: Pairing | None
    ) -> SegmentationDataset:
        name, layout = layout_with_options(dataset, section, self.settings.options)
        own = pair_labeled if self.settings.skips_unpaired else pair_samples
        return open_dataset(name, Path(root or "").expanduser(), split, pair or own, layout)

    @property
    def _other_look(self) -> Look:
        return "render" if self.settings.demo.look == "camera" else "camera"

    def _scenes(self, look: Look, layout: str, split: str) -> SegmentationDataset:
        return open_dataset(layout, self._drawn(look, layout, split), split)

    def _drawn(self, look: Look, layout: str, split: str) -> Path:
        demo = self.settings.demo
        counts = {"train": demo.train_images, "val": demo.val_images}
        said: list[int] = []

        def announce(done: int, total: int) -> None:
            if not said:
                LOG.info(f"drawing {total} demo scenes, once")
            said.append(done)

        return ensure_demo(
            look=look,
            counts={split: counts[split] for split in SCENE_LAYOUTS[layout].splits},
            size=demo.size,
            seed=demo.seed,
            layout=layout,
            progress=announce,
        )

    def validation(
        self, pair: Pairing | None = None, train: SegmentationDataset | None = None
    ) -> SegmentationDataset:
        """The validation split, or what ``data.val`` holds out of the training split.

        ``pair`` is as for :meth:`split`; ``train`` is the training split where it is open already.

        Raises:
            DataError: It cannot be opened; where there is none, the message says what to do.
        """
        data = self.data
        if data.val is not None:
            # Of a target, which needs no labels, those images are held out that have one.
            train = train or self.split(data.train_split, pair_present)
            return hold_out(train, data.val, self.settings.split_seed)
        try:
            return self.split(data.val_split, pair)
        except UnknownSplitError as error:
            root = Path(data.root or "").expanduser()
            root = root if root.is_dir() else root.parent
            raise UnknownSplitError(
                f"there is no validation split: {error}. Hold out a part of the labeled images "
                f"with --val 1/5; or put validation images into {root / 'images' / data.val_split} "
                f"and their labels into {root / 'labels' / data.val_split}; or give "
                f"--data.val_split {data.train_split}, whose scores are those of training images "
                "and say nothing about new ones"
            ) from error

    def judged(self, split: str | None, run: Path) -> tuple[SegmentationDataset, str]:
        """The images that a trained network is judged by, and what they are called.

        By default they are those that its run was validated on. The run's record of images that
        were held out counts where there is one: the data may have more images by now.
        """
        data = self.data
        if split is not None or data.val is None:
            split = split or data.val_split
            return self.split(split), split
        record = run / "val.txt"
        if record.is_file():
            data = dataclasses.replace(data, val=str(record))
        held_out = RunData(dataclasses.replace(self.settings, data=data)).validation()
        return held_out, f"{data.train_split}, held out"

    def photographs(
        self, labeled: Sequence[SegmentationDataset], val: SegmentationDataset | None
    ) -> tuple[SegmentationDataset, tuple[str, ...]]:
        """The images of ``data.unlabeled``, and notes on files that were left out.

        Left out are those of the splits that the run takes labels from, and of ``val``, unless that
        is what is trained on; it is None where it cannot be opened.

        Raises:
            DataError: There is no image, or all are left out.
        """
        data = self.data
        assert data.unlabeled is not None
        vals = () if val is None else (val,)
        own_val = data.val is not None or data.val_split != data.train_split
        folders = [
            (*layout_with_options(name, section, self.settings.options), Path(root).expanduser())
            for section, name, root in (
                ("data", data.dataset, data.root),
                ("source_domain", self.domain.dataset, self.domain.root),
            )
            if name is not None and root is not None
        ]
        unlabeled = Path(data.unlabeled).expanduser()
        return open_photographs(unlabeled, (*labeled, *vals), vals if own_val else (), folders)

    def parts(self) -> Iterator[Part]:
        """All parts, to be read one by one.

        Of one domain all labels of the training split are read, whichever of them a run takes; of a
        target only the images, but for ``targets.alignment: target``.
        """
        data, settings = self.data, self.settings
        # By default an image without a label is a problem, and each of them is named.
        pair = None if settings.skips_unpaired else pair_present

        def training() -> SegmentationDataset:
            dataset = self.split(data.train_split, pair)
            held_out = _ids(validation()) if data.val is not None else []
            split_labeled(_ids(dataset), data.labeled, settings.split_seed, held_out)  # refuses
            return dataset

        def target() -> SegmentationDataset:
            return self.split(data.train_split, pair_present)

        def labeled_target() -> SegmentationDataset:
            dataset = target()
            held_out = _ids(validation()) if data.val is not None else []
            chosen = self._split_of_target(dataset, held_out).labeled
            return dataclasses.replace(dataset, samples=tuple(dataset.samples[i] for i in chosen))

        def validation() -> SegmentationDataset:
            return self.validation(pair)

        def source() -> SegmentationDataset:
            dataset = self.source(pair)
            split_labeled(_ids(dataset), self.domain.labeled, settings.split_seed)
            classes = (_opened(validation) or target()).classes
            return class_map(dataset.classes, classes, self._class_map_file()).apply(dataset)

        def photographs() -> SegmentationDataset:
            # What is wrong with the others is said where they are read themselves.
            labeled = _opened(source if settings.two_domains else training)
            opened = () if labeled is None else (labeled,)
            dataset, notes = self.photographs(opened, _opened(validation))
            for note in notes:
                LOG.info(note)
            return dataclasses.replace(dataset, passed_over="")  # is among the notes

        if settings.two_domains:
            yield Part("source", "source_domain", source, labeled=True)
        else:
            yield Part("training", "data", training, labeled=True)
        if "target" in self.streams:
            yield Part("labeled target", "data.labeled_target", labeled_target, labeled=True)
        if data.unlabeled is not None:
            yield Part("unlabeled", "data.unlabeled", photographs, labeled=False)
        elif settings.two_domains and "unlabeled" in self.streams:
            counted = settings.targets.alignment == "target"
            yield Part("target", "data.train_split", target, labeled=counted)
        setting = "data.val_split" if data.val is None else "data.val"
        yield Part("validation", setting, validation, labeled=True)

    # All parts --------------------------------------------------------------------------------

    def training(self) -> TrainingData:
        """Open and check everything; a DataError says what is missing or not as it should be."""
        settings, skip_bad = self.settings, self.data.skip_bad
        data = self._two_domains() if settings.two_domains else self._one_domain()
        if "unlabeled" in self.streams and not data.unlabeled_indices:
            without = (
                "leave them out with --distillation.unlabeled 0"
                if effect.takes_part(settings.method, "trained_teacher")
                else "train with --method supervised"
            )
            given = f"data.labeled {self.data.labeled}"
            if "target" in data.streams:
                given = f"data.labeled_target {settings.labeled_target}"
            raise DataError(
                f"{given} leaves no unlabeled image. Use fewer labels, give a folder with "
                f"--unlabeled DIR, or {without}"
            )
        read: dict[Path, bytes] = {}
        for name, (dataset, indices) in data.with_labels.items():
            _check_labels_are_there(dataset, indices, name)
            read |= check_samples(dataset, indices, skip_bad=skip_bad)
        read |= check_samples(data.val, range(len(data.val)))
        # Those of photographs are among the notes already.
        split_of_data = () if self.data.unlabeled is not None else (data.unlabeled,)
        passed_over = [one.passed_over for one in (data.labeled, data.val, *split_of_data)]
        notes = [f"note: {note}" for note in dict.fromkeys(passed_over) if note]
        notes += _unseen_classes(data, read)
        data = dataclasses.replace(data, notes=(*data.notes, *notes))
        if "instances" in self.asked:
            _check_instances(data, skip_bad=skip_bad)
            data = dataclasses.replace(data, instances=True)
        if any(sample.label is None for sample in data.val.samples):
            raise DataError(
                f"data.val_split {self.data.val_split!r} of {data.val.name} has no labels; hold "
                "out a part of the labeled images for validation with --val 1/5"
            )
        if not settings.crops:
            resize = self.settings.labeled_section.resize
            if resize is None:
                check_equal_sizes(data.labeled, data.split.labeled, skip_bad=skip_bad)
            if self.data.resize is None:
                check_equal_sizes(data.unlabeled, data.unlabeled_indices, skip_bad=skip_bad)
                if "target" in data.streams:
                    check_equal_sizes(*data.streams["target"], skip_bad=skip_bad)
            pasted = settings.options.get("mixing.pasted_from") == "labeled"
            if settings.options.get("mixing.domains") == "inter" or pasted:
                check_same_size(data.labeled, resize, data.unlabeled, self.data.resize)
        if not effect.takes_part(settings.method, "teacher"):
            return data
        return dataclasses.replace(data, distribution=self._distribution(data))

    def _one_domain(self) -> TrainingData:
        data, objects = self.data, self.objects
        train = objects.train or self.split(data.train_split)
        val = objects.val or self.validation(train=train)
        held_out = _ids(val) if data.val is not None else []
        split = split_labeled(_ids(train), data.labeled, self.settings.split_seed, held_out)
        further, left_out = self._further_images(train, val)
        return TrainingData(
            labeled=train,
            split=split,
            unlabeled=further or train,
            unlabeled_indices=tuple(range(len(further))) if further else split.unlabeled,
            val=val,
            notes=(*unpaired_notes(train, val), *self._held_out_notes(train, val), *left_out),
        )

    def _two_domains(self) -> TrainingData:
        """Labeled images of the source, unlabeled ones of the target; its labels are for
        validation, but those of ``data.labeled_target``.
        """
        data, objects = self.data, self.objects
        source = objects.source or self.source()
        target = objects.train
        named = data.unlabeled is not None or objects.unlabeled is not None
        labels_target = "target" in self.streams
        takes_target = labels_target or (not named and "unlabeled" in self.streams)
        if target is None and (data.val is not None or takes_target):
            # Of which images are needed, and labels only to validate by.
            target = self.split(data.train_split, pair_present)
        val = objects.val or self.validation(train=target)
        held_out = _ids(val) if data.val is not None else []
        classes = class_map(source.classes, val.classes, self._class_map_file())
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
        split = split_labeled(_ids(source), self.domain.labeled, self.settings.split_seed)
        if target is not None:
            notes += self._held_out_notes(target, val)
        split = split.holding_out(held_out)
        target_split = None
        if labels_target and target is not None:
            target_split = self._split_of_target(target, held_out)
            split = split.beside(target_split)
        unlabeled, left_out_files = self._further_images(source, val)
        notes += left_out_files
        indices: tuple[int, ...] | None = None
        if unlabeled is None and takes_target and target is not None:
            missing = sum(sample.label is None for sample in target.samples)
            if missing:
                notes.append(f"{missing} images of the target have no label, and need none")
            unlabeled = target
            if target_split is not None:
                indices = target_split.unlabeled
            else:
                kept = tuple(sample for sample in target.samples if sample.id not in set(held_out))
                unlabeled = dataclasses.replace(target, samples=kept)
        if unlabeled is None:
            unlabeled = dataclasses.replace(val, samples=())
        return TrainingData(
            labeled=classes.apply(source),
            split=split,
            unlabeled=unlabeled,
            unlabeled_indices=tuple(range(len(unlabeled))) if indices is None else indices,
            val=val,
            notes=tuple(notes),
            class_map=classes.to_yaml(),
            target=None if target_split is None else target,
            target_split=target_split,
        )

    def _split_of_target(self, target: SegmentationDataset, held_out: Sequence[str]) -> Split:
        """Which images of the target's training split are labeled, and which are not.

        Where images without a label are left out elsewhere, they are unlabeled here.

        Raises:
            DataError: As :func:`split_labeled`.
        """
        part = self.settings.labeled_target
        assert part is not None
        bare: list[str] = []
        if self.settings.skips_unpaired:
            bare = [sample.id for sample in target.samples if sample.label is None]
        try:
            return split_labeled(_ids(target), part, self.settings.split_seed, held_out, bare)
        except DataError as error:
            raise DataError(f"data.labeled_target: {error}") from error

    def _further_images(
        self, labeled: SegmentationDataset, val: SegmentationDataset
    ) -> tuple[SegmentationDataset | None, tuple[str, ...]]:
        """The images that replace the unlabeled ones of the training split, and notes on them."""
        if self.objects.unlabeled is not None:
            return self.objects.unlabeled, ()
        if self.data.unlabeled is not None:
            return self.photographs((labeled,), val)
        return None, ()

    def _class_map_file(self) -> Path | None:
        file = self.domain.class_map
        return None if file is None else Path(file).expanduser()

    def _held_out_notes(self, train: SegmentationDataset, val: SegmentationDataset) -> list[str]:
        data = self.data
        if data.val is None or self.objects.val is not None:
            return []
        labeled = sum(sample.label is not None for sample in train.samples)
        line = (
            f"{len(val)} of {labeled} labeled images of {train.name} {train.split!r} are held out "
            f"for validation (data.val {data.val})"
        )
        if data.val_split != data.train_split:
            with contextlib.suppress(DataError, ConfigError):
                passed_over = self.split(data.val_split, pair_present)
                line += f"; the {len(passed_over)} images of split {data.val_split!r} are not used"
        return [line]

    def _distribution(self, data: TrainingData) -> NDArray[np.float64] | None:
        alignment = self.settings.targets.alignment
        if alignment == "none":
            return None
        if alignment == "uniform":
            return np.full(len(data.classes), 1 / len(data.classes))
        if alignment == "labeled":
            return class_frequencies(
                data.labeled, data.split.labeled, ALIGNMENT_LABELS, skip_bad=self.data.skip_bad
            )
        if alignment == "target":
            if any(sample.label is None for sample in data.unlabeled.samples):
                raise DataError(
                    f"targets.alignment target counts labels of the target, but images of "
                    f"{data.unlabeled.root} have none; give shares in a file, or take labeled"
                )
            return class_frequencies(data.unlabeled, data.unlabeled_indices, ALIGNMENT_LABELS)
        return read_frequencies(Path(alignment).expanduser(), data.classes)

    def with_frequencies(self, data: TrainingData, recorded: Path | None = None) -> TrainingData:
        """The data with the share of each class among its labels, where a part asks for it.

        Shares that the settings give come first, then those of a file that the run has recorded.
        """
        if "class_shares" not in self.asked:
            return data
        given = self.settings.options.get("supervised_loss.frequencies")
        if given is not None:
            shares = frequencies_of(given, data.classes, "supervised_loss.frequencies")
        elif recorded is not None and recorded.is_file():
            shares = read_frequencies(recorded, data.classes)
        else:
            indices = data.split.labeled
            LOG.info(f"counting the classes of {len(indices)} labels")
            shares = class_frequencies(data.labeled, indices, skip_bad=self.data.skip_bad)
        return dataclasses.replace(data, frequencies=shares)

    def with_counts(self, data: TrainingData) -> TrainingData:
        """The data of a new run with all that its parts ask to count in the labels."""
        return self.with_class_pixels(self.with_related(self.with_frequencies(data)))

    def with_related(self, data: TrainingData, recorded: Path | None = None) -> TrainingData:
        """The data with the classes that belong together by its labels, where a part asks for it.

        ``recorded`` is the file in which the run keeps them.
        """
        if "related" not in self.asked:
            return data
        if recorded is not None and recorded.is_file():
            return dataclasses.replace(data, related=read_pairs(recorded, data.classes))
        indices = data.split.labeled
        LOG.info(f"looking in {min(len(indices), LABELS)} labels for classes that belong together")
        related = related_by_borders(data.labeled, indices, skip_bad=self.data.skip_bad)
        pairs = ", ".join("+".join(pair) for pair in named_pairs(related, data.classes))
        note = f"mixing.together auto: {pairs or 'no classes that belong together'}"
        return dataclasses.replace(data, related=related, notes=(*data.notes, note))

    def with_class_pixels(self, data: TrainingData, recorded: Path | None = None) -> TrainingData:
        """The data with the pixels of each class in each label, where images are drawn by them.

        ``recorded`` is the file in which the run keeps them. Collective: one process counts.
        """
        if self.settings.sampling.name == "uniform":
            return data
        least, skip_bad = self.settings.sampling.min_pixels, self.data.skip_bad
        counts: dict[str, NDArray[np.int64]] = {}
        notes = []
        for name, (dataset, indices) in data.with_labels.items():
            count = functools.partial(
                label_pixels,
                dataset,
                indices,
                recorded=recorded,
                workers=default_workers() if self.data.workers is None else self.data.workers,
                skip_bad=skip_bad,
                on_count=_telling(f"counting the classes of each of {len(indices)} labels"),
            )
            own = by_first(count)
            if own is None:  # the first process has them
                own = np.zeros((len(indices), len(dataset.classes) + 1), dtype=np.int64)
            counts[name] = summed(torch.from_numpy(own)).numpy()
            domain = self.settings.labeled_section if name == "labeled" else self.data
            _, scarce = images_by_class(counts[name], least, domain.resize)
            if scarce:
                names = named_first([dataset.classes.names[one] for one in scarce])
                notes.append(
                    f"note: no image of the {name} stream has {least} pixels (sampling.min_pixels) "
                    f"of {names}; drawn are those with at least half as many as the one with most"
                )
            if unread := int((counts[name].sum(axis=1) == 0).sum()):
                notes.append(f"note: {unread} labels cannot be read and are not drawn by a class")
        return dataclasses.replace(data, class_pixels=counts, notes=(*data.notes, *notes))


def _telling(work: str) -> Callable[[int, int], None]:
    """Says that labels are counted, and every while how many are done."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if not done:
            LOG.info(work)
        elif time.monotonic() - last > TELL_EVERY:
            last = time.monotonic()
            LOG.info(f"{work}: {done} done")

    return tell


def layout_with_options(
    dataset: str, section: str, options: Mapping[str, Any]
) -> tuple[str, Layout]:
    """Name and layout of a data set, with the options that a section of the settings gives it."""
    name = "cityscapes" if dataset == "demo" else dataset
    return name, LAYOUTS.build(name, options, section)


def unpaired_notes(*datasets: SegmentationDataset) -> list[str]:
    """Notes on images that were left out, a line for each data set with some."""
    return [
        f"{len(dataset.unpaired)} images of {dataset.name} {dataset.split!r} have no label and are "
        f"left out; the first is {dataset.unpaired[0]}"
        for dataset in datasets
        if dataset.unpaired
    ]


def _check_labels_are_there(
    dataset: SegmentationDataset, indices: Sequence[int], stream: str
) -> None:
    bare = [index for index in indices if dataset.samples[index].label is None]
    if not bare:
        return
    what, advice = "labeled images", ""
    if stream == "target":
        what = "labeled target images"
        advice = (
            ". --data.unpaired skip draws from those that have one, a list file names them: "
            "--labeled-target LABELED.txt"
        )
    raise DataError(
        f"{len(bare)} of the {what} of {dataset.name} {dataset.split!r} have no label, the first "
        f"is {dataset.samples[bare[0]].image}"
        + (f"; looked for {dataset.looked_for}" if dataset.looked_for else "")
        + advice
    )


def _unseen_classes(data: TrainingData, read_already: Mapping[Path, bytes]) -> Iterator[str]:
    for dataset, indices in (*data.with_labels.values(), (data.val, tuple(range(len(data.val))))):
        ids, read = ids_in_labels(dataset, indices, known=read_already)
        note = unseen_note(dataset, ids, read, len(indices))
        if note:
            yield f"note: {note}"


def _check_instances(data: TrainingData, *, skip_bad: bool) -> None:
    """Refuse labeled images whose instances are not known, and read those of some.

    With ``skip_bad`` files that cannot be read are passed over.

    Raises:
        ConfigError: There are none, or not of all images.
        DataError: A file of instances is damaged, or not of the size of its label.
    """
    for labeled, indices in data.with_labels.values():
        without = [index for index in indices if labeled.samples[index].instances is None]
        if without:
            raise ConfigError(
                f"mixing.instances: {len(without)} of {len(indices)} labeled images of "
                f"{labeled.name} have no file that tells instances apart (such as Cityscapes' "
                f"*_gtFine_instanceIds.png), the first is {labeled.samples[without[0]].image}; "
                "leave mixing.instances out"
            )
        for index in () if skip_bad else spread(indices, 4):
            labeled.instances(index, labeled.label(index))


def _opened(part: Callable[[], SegmentationDataset]) -> SegmentationDataset | None:
    with contextlib.suppress(DataError, ConfigError):
        return part()
    return None


def _ids(dataset: SegmentationDataset) -> list[str]:
    return [sample.id for sample in dataset.samples]
