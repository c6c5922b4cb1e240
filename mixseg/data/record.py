"""A record of the data of a run, which is compared when the run is resumed or evaluated.

Settings name a folder, not its content: ``dataset.yaml`` may swap two classes, a validation image
may disappear, labels may be redrawn. The sizes of label files in bytes stand for their content,
which is too much to read at every start.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixseg.data.contract import UNKNOWN, Sample, SegmentationDataset
from mixseg.data.masks import LabelReader
from mixseg.errors import named_first
from mixseg.files import read_json
from mixseg.ignore import IGNORE

Record = dict[str, Any]
"""JSON: ``classes`` (names by train id), ``label_ids`` and ``source_ids`` (raw id, and color where
a description names them -> class or ``ignore``), ``val`` and ``labeled`` (id -> bytes of the label)
and ``unlabeled`` (ids); ``target``, as ``labeled``, where target images are labeled next to a
source."""

FILE = "data.json"
"""File of the record in the folder of a run."""

LISTS = {
    "val": "validation images",
    "labeled": "labeled images",
    "unlabeled": "unlabeled images",
    "target": "labeled target images",
}
"""Long parts of a record -> their names in messages."""

_short = functools.partial(named_first, most=3)


def record_of_validation(val: SegmentationDataset) -> Record:
    """The part of a record that scores depend on."""
    return {
        "classes": list(val.classes.names),
        "label_ids": _label_ids(val),
        "val": _sizes(val.samples),
    }


def record_of_training(
    val: SegmentationDataset,
    labeled: SegmentationDataset,
    labeled_indices: Iterable[int],
    unlabeled_ids: Sequence[str],
    target: Sequence[Sample] | None = None,
) -> Record:
    """The record of a run: its validation split, its labeled images and its unlabeled ones.

    ``target`` are labeled target images; None where there is no such stream.
    """
    record = record_of_validation(val) | {
        "source_ids": _label_ids(labeled),
        "labeled": _sizes(labeled.samples[index] for index in labeled_indices),
        "unlabeled": list(unlabeled_ids),
    }
    return record if target is None else record | {"target": _sizes(target)}


def read_record(run: Path) -> Record | None:
    """The whole record in the folder of a run; None if it is missing or damaged."""
    try:
        content = read_json(run / FILE)
        needed = {*LISTS, "classes", "label_ids"} - {"target"}
        if not isinstance(content, dict) or not needed <= {*content}:
            return None
        if not all(isinstance(content.get(name, {}), dict | list) for name in LISTS):
            return None
        check_digests(digests(content))
    except (OSError, ValueError):
        return None
    return content


def check_digests(kept: object) -> None:
    """Raise a ValueError for what :func:`digests` never returns, such as foreign metadata."""
    if not isinstance(kept, dict):
        raise ValueError("its record of the data is not a mapping")
    for name, part in kept.items():
        right = True
        if name in LISTS:
            right = isinstance(part, dict) and {"count", "sha256"} <= {*part}
        elif name in ("label_ids", "source_ids"):
            right = isinstance(part, dict) and all(isinstance(one, str) for one in part.values())
        elif name == "classes":
            right = isinstance(part, list) and all(isinstance(one, str) for one in part)
        if not right:
            raise ValueError(f"its record of the data holds no {name!r} that can be compared")


def digests(record: Record) -> Record:
    """A record whose long parts are replaced by their length and SHA-256."""
    return record | {
        name: {"count": len(record[name]), "sha256": _digest(record[name])}
        for name in LISTS
        if name in record
    }


def differences(kept: Mapping[str, Any], now: Record, full: Record | None = None) -> list[str]:
    """The changes of the data, one line to print for each.

    ``kept`` has the :func:`digests` of the run's record; parts that it lacks, as in older versions,
    are not compared. ``now`` is the record of the present data. ``full`` is the whole record of the
    run, whose lists are used only if their digests are those in ``kept``.
    """
    lines = []
    if "classes" in kept and kept["classes"] != now["classes"]:
        lines.append(f"classes: {_short(kept['classes'])} -> {_short(now['classes'])}")
    for name, title in (("label_ids", "label ids"), ("source_ids", "ids of the labeled images")):
        if name in kept and name in now and kept[name] != now[name]:
            lines.append(f"{title}: {_changed_ids(kept[name], now[name])}")
    fresh = digests(now)
    for name, title in LISTS.items():
        if name not in kept or name not in fresh or kept[name] == fresh[name]:
            continue
        known = None if full is None else full.get(name)
        if known is None or _digest(known) != kept[name]["sha256"]:
            counts = f"{kept[name]['count']} -> {fresh[name]['count']}"
            lines.append(f"{title}: other ones, or other label files ({counts})")
        else:
            lines += [f"{title}: {change}" for change in _changed_lists(known, now[name])]
    return lines


def _changed_ids(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    keys = sorted({*before, *after}, key=lambda key: (len(key), key))
    pairs = [(key, before.get(key, "unknown"), after.get(key, "unknown")) for key in keys]
    return _short([f"{key} {old} -> {new}" for key, old, new in pairs if old != new])


def _changed_lists(
    before: Mapping[str, Any] | Sequence[str], after: Mapping[str, Any] | Sequence[str]
) -> list[str]:
    old, new = set(before), set(after)
    lines = []
    for found, what in ((old - new, "are gone"), (new - old, "are new")):
        if found:
            lines.append(f"{len(found)} {what} ({_short(sorted(found))})")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        pairs = [(key, before[key], after[key]) for key in sorted(old & new)]
        changed = [f"{key}: {one} -> {other} bytes" for key, one, other in pairs if one != other]
        if changed:
            lines.append(f"files of {len(changed)} have changed ({_short(changed)})")
    return lines or ["in another order"]


def _label_ids(dataset: SegmentationDataset) -> dict[str, str]:
    names = dict(enumerate(dataset.classes.names)) | {IGNORE: "ignore"}
    meanings = {
        str(raw): names[int(train)] for raw, train in enumerate(dataset.lookup) if train != UNKNOWN
    }
    reader = dataset.read_raw_label
    if isinstance(reader, LabelReader) and reader.description is not None:
        # Labels may be colors; those of other layouts are fixed.
        for raw, color in reader.colors:
            meanings[str(list(color))] = names[int(dataset.lookup[raw])]
    return meanings


def _sizes(samples: Iterable[Sample]) -> dict[str, int | None]:
    """Id -> bytes of the label."""
    return {one.id: _size(one.label) for one in samples}


def _size(path: Path | None) -> int | None:
    """Bytes of a file; None without one that can be looked at."""
    try:
        return None if path is None else path.stat().st_size
    except OSError:
        return None


def _digest(part: Any) -> str:
    # Escaped, since names that are not UTF-8 have no other form.
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
