"""Copies of the parts of a run's data at training size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mixseg.analysis.data_check import report_lines
from mixseg.config.sections import DataSettings, SourceSettings
from mixseg.config.values import Size
from mixseg.data.check import PartReport
from mixseg.data.prepared_copy import Outcome, Plan, plan_splits, plan_unlabeled
from mixseg.errors import ConfigError
from mixseg.training.data import layout_with_options


class Copied(NamedTuple):
    """A part of a run's data that is to be copied.

    Attributes:
        part: ``data``, ``source`` or ``unlabeled``.
        section: Of its settings.
        root: Where the original is.
        size: Height and width of the copy.
        resize: What training resizes to; None keeps the size of the files.
        plan: The files.
    """

    part: str
    section: str
    root: Path
    size: Size
    resize: Size | None
    plan: Plan


def copy_of_part(
    part: str,
    data: DataSettings,
    source: SourceSettings,
    options: Mapping[str, Any],
    size: Size | None,
    compression: int,
    *,
    keeps_labels: bool,
) -> Copied:
    """Plan the copy of a part of a run's data; nothing is read yet.

    Args:
        part: ``data``, ``source`` or ``unlabeled``.
        data: Section ``data`` of the run.
        source: Section ``source_domain``.
        options: Setting path -> value, of the layouts.
        size: Height and width; by default those to which training resizes.
        compression: Of PNG images, 0 to 9.
        keeps_labels: Whether validation compares labels at their own size.

    Raises:
        ConfigError: The settings do not say where the part is, or its size.
        DataError: It cannot be opened.
    """
    section, key = (source, "source_domain") if part == "source" else (data, "data")
    root = data.unlabeled if part == "unlabeled" else section.root
    if part == "unlabeled" and root is None:
        raise ConfigError("--part unlabeled needs --unlabeled DIR, or a list file")
    if part == "source" and (source.dataset is None or root is None):
        raise ConfigError("--part source needs --source NAME and --source-root DIR")
    if root is None:
        raise ConfigError(f"data.root: where is {data.dataset}? Give its folder with --data-root")
    size = size or section.resize
    if size is None:
        raise ConfigError(
            f"--size HEIGHTxWIDTH is missing: {key}.resize is not set, so training does not resize"
        )
    place = Path(root).expanduser()
    if part == "unlabeled":
        plan = plan_unlabeled(place, size=size, compression=compression)
    else:
        name, layout = layout_with_options(str(section.dataset), key, options)
        # A source has no validation split of its own, and its labeled images keep their size.
        validated = part == "data" and data.val_split in layout.splits(place)
        plan = plan_splits(
            name,
            place,
            size=size,
            training=source.split if part == "source" else data.train_split,
            validation=data.val_split if validated else None,
            keep_labeled=part == "source" or keeps_labels,
            compression=compression,
            interpolation=source.interpolation if part == "source" else "bilinear",
            layout=layout,
        )
    return Copied(part, key, place, size, section.resize, plan)


def lines_about(
    copied: Copied, outcome: Outcome, output: Path, left_out: int, shown: int
) -> Iterator[str]:
    """What was copied into ``output``, with the first ``shown`` bad files of each kind."""
    images = [one for one in copied.plan.originals if one.read_image is not None]
    labels = sum(len(one.labels) for one in images)
    base = str(copied.plan.base)
    report = PartReport(copied.part, base, len(images), labels, outcome.problems)
    yield from report_lines([report], shown)
    yield from copied.plan.notes
    there = len(outcome.files) - outcome.written
    yield f"{output}: {outcome.written} files written, {there} were there, {left_out} left out"
