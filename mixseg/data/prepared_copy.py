"""A copy of a data set with smaller images, in the same layout, for the same loader.

Decoding and resizing large images takes most of a loader's time. Both can be done once: images and
labels of the training split, and images without labels, are written at training size, as the
loader itself would make them. What is validated keeps its size, since labels are compared there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, final

import torch

from mixseg.config.values import Size
from mixseg.data.check import Problem, label_problems, reading_problem
from mixseg.data.contract import Sample, SegmentationDataset
from mixseg.data.images import (
    ImageArray,
    LabelArray,
    encode_jpeg,
    encode_png,
    read_image,
    read_palette_png,
    read_photograph,
    stores_ids,
)
from mixseg.data.layout import Layout, layout_of, open_dataset
from mixseg.data.loading import in_processes
from mixseg.data.pairing import IMAGE_ENDINGS, pair_present
from mixseg.data.transforms import Interpolation, resized_ids, resized_image
from mixseg.data.unlabeled import ANY_CLASS, open_unlabeled
from mixseg.errors import ConfigError, DataError
from mixseg.files import FolderLock, read_bytes, read_json, write_atomically

MANIFEST = "prepared.json"
"""Name of the manifest in the folder of a copy."""

SAVE_EVERY = 30.0
"""Seconds of work after which the manifest is saved: what a killed process may lose."""


class Origin(NamedTuple):
    """What a copy was made from, and how; a folder holds copies of one origin only."""

    dataset: str  # layout, or "unlabeled"
    root: str  # absolute path of the original
    size: Size  # height and width of its images
    compression: int  # of PNG images, 0 to 9
    interpolation: Interpolation = "bilinear"

    def __str__(self) -> str:
        how = f"compression {self.compression}, resized {self.interpolation}"
        return f"{self.dataset} in {self.root} at {'x'.join(map(str, self.size))} with {how}"


class CopiedFile(NamedTuple):
    """A file of a copy, with its original."""

    source: str  # the original, relative to the root of the data set
    stamp: dict[str, int]  # of the original when it was read
    source_size: Size | None  # height and width of the original; None if it was not decoded
    size: Size | None  # height and width of the copy
    bytes: int  # length of the copy
    sha256: str  # of the copy
    problem: str  # what is wrong with the original, which is copied as it is

    def is_intact(self, path: Path) -> bool:
        """Whether the copy is as it was written."""
        try:
            return hashlib.sha256(read_bytes(path)).hexdigest() == self.sha256
        except OSError:
            return False


class Manifest(NamedTuple):
    """The content of a copy's folder: path -> file."""

    origin: Origin
    files: Mapping[str, CopiedFile]

    def save(self, folder: Path) -> None:
        """Write it into the folder."""
        files = {name: file._asdict() for name, file in sorted(self.files.items())}
        content = {"form": 1, **self.origin._asdict(), "files": files}
        write_atomically(folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if there is none.

    Raises:
        DataError: It is damaged, or names a file outside of the folder.
    """
    path = folder / MANIFEST
    try:
        content = read_json(path)
        if content.pop("form") != 1:
            raise ValueError("its form is not 1")
        files: dict[str, CopiedFile] = {}
        for name, one in content.pop("files").items():
            below = PurePosixPath(name)  # files that are no longer needed are removed by it
            if below.is_absolute() or ".." in below.parts or not below.name or str(below) != name:
                raise ValueError(f"{name!r} is not a path below it")
            sizes = {key: one[key] and tuple(one[key]) for key in ("source_size", "size")}
            files[name] = CopiedFile(**one | sizes)
        return Manifest(Origin(**content | {"size": tuple(content["size"])}), files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(
            f"{path}: is not a manifest of a prepared copy ({error}); remove the folder, or give "
            "another one with --output"
        ) from error


class Original(NamedTuple):
    """An image of a data set with all labels that its splits give it, or a text file."""

    path: Path
    targets: Mapping[str, Path]  # path in the copy -> the image, then each label
    labels: Mapping[Path, SegmentationDataset] = {}  # label file -> a split that reads it
    size: Size | None = None  # height and width in the copy; None keeps those of the files
    read_image: Callable[[Path], ImageArray] | None = None  # None for a text file


class Plan(NamedTuple):
    """What a copy is to hold."""

    origin: Origin
    base: Path  # folder that paths are relative to
    originals: tuple[Original, ...]  # images, then text files
    notes: tuple[str, ...] = ()  # for people, one line each


def plan_splits(
    name: str,
    root: Path,
    *,
    size: Size,
    training: str,
    validation: str | None,
    keep_labeled: bool,
    compression: int = 0,
    interpolation: Interpolation = "bilinear",
    layout: Layout | None = None,
) -> Plan:
    """List all splits of a data set; nothing is read yet.

    Args:
        name: Name of the layout.
        root: Folder of the data set.
        size: Height and width of the copy.
        training: Name of the training split.
        validation: Name of the validation split; None if another data set has it.
        keep_labeled: Keep the size of labeled images that are validated or not trained on.
        compression: PNG compression level, 0 to 9.
        interpolation: How images are resized.
        layout: A layout with options; by default the one of that name without options.

    Raises:
        DataError: The training or the validation split cannot be opened, or every image would
            keep its size.
    """
    layout = layout or layout_of(name)
    opened: dict[str, SegmentationDataset] = {}
    notes: list[str] = []
    wanted = [training] if validation is None else [training, validation]
    for split in dict.fromkeys((*wanted, *layout.splits(root))):
        try:
            opened[split] = open_dataset(name, root, split, pair_present, layout)
        except DataError as error:
            if split in wanted:
                raise
            notes.append(f"split {split!r} is left out: {error}")
    base = root if root.is_dir() else root.parent
    further = [one for one in layout.further_images if (base / one).is_dir()]
    opened |= {one: open_unlabeled(base / one, opened[training].classes) for one in further}
    splits: dict[Path, set[str]] = defaultdict(set)
    labels: dict[Path, dict[Path, SegmentationDataset]] = defaultdict(dict)
    targets: dict[Path, dict[str, Path]] = defaultdict(dict)
    for split, dataset in opened.items():
        for sample in dataset.samples:
            splits[sample.image].add(split)
            targets[sample.image].setdefault(_relative(sample.image, base), sample.image)
            if sample.label is not None:
                labels[sample.image][sample.label] = dataset
                target = sample.label
                if target.suffix.lower() not in IMAGE_ENDINGS:
                    # A class file of SBD, which may lie beside the data set: its loader takes PNGs
                    # in this folder instead.
                    target = dataset.root.parent / "SegmentationClassAug" / f"{sample.id}.png"
                targets[sample.image][_relative(target, base)] = sample.label
    originals = []
    for image in sorted(splits):
        validated = validation in splits[image] or training not in splits[image]
        kept = keep_labeled and validated and bool(labels[image])
        read = read_photograph if splits[image] <= {*further} else read_image
        originals.append(
            Original(image, targets[image], labels[image], None if kept else size, read)
        )
    count = sum(one.size is None for one in originals)
    if count == len(originals):
        raise DataError(
            f"{root}: every image of split {training!r} is validated too and would keep its size; "
            "take --set validation.resolution=input, which compares labels at data.resize"
        )
    if count:
        notes.append(
            f"{count} labeled images outside of {training!r} keep their size: labels are compared "
            "at the size of their files (validation.resolution: native)"
        )
    origin = Origin(name, str(root.resolve()), size, compression, interpolation)
    texts = {path for one in layout.lists for path in base.glob(one)} | ({root} - {base})
    lists = [Original(one, {_relative(one, base): one}) for one in sorted(texts) if one.is_file()]
    return Plan(origin, base, (*originals, *lists), tuple(notes))


def plan_unlabeled(source: Path, *, size: Size, compression: int = 0) -> Plan:
    """List images without labels, of a folder or a list file.

    Raises:
        DataError: The source names no image.
    """
    dataset = open_unlabeled(source, ANY_CLASS)
    originals = [
        Original(one, {_relative(one, dataset.root): one}, {}, size, read_photograph)
        for one in (sample.image for sample in dataset.samples)
    ]
    if source.is_file():
        originals.append(Original(source, {source.name: source}))
    origin = Origin("unlabeled", str(source.resolve()), size, compression)
    return Plan(origin, dataset.root, tuple(originals))


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def check_output(plan: Plan, output: Path) -> Manifest:
    """What a folder holds already; an empty manifest for a new one.

    Raises:
        ConfigError: The folder lies in the data, holds other files, or a copy of another origin.
        DataError: Its manifest is damaged.
    """
    folders = {path.parent for one in plan.originals for path in one.targets.values()}
    for folder in (plan.base, *sorted(folders)):
        if output.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"--output {output}: lies in the data set ({folder}), where its loader would find "
                "the copy; give a folder outside of it"
            )
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: is not a folder")
    manifest = read_manifest(output)
    if manifest is None:
        files = output.iterdir() if output.is_dir() else ()
        if any(_unfinished(path) != output / MANIFEST for path in files):
            raise ConfigError(
                f"--output {output}: holds files, but no {MANIFEST}; give a new or empty folder"
            )
        return Manifest(plan.origin, {})
    if manifest.origin != plan.origin:
        raise ConfigError(
            f"--output {output}: holds a copy of {manifest.origin}, not of {plan.origin}; give "
            "another folder"
        )
    return manifest


def _unfinished(path: Path) -> Path | None:
    """The file that a temporary one was to become when its process was killed."""
    found = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}", path.name)
    return found and path.with_name(found[1])


@final
@dataclass(frozen=True)  # a loader would turn the tuples in a named tuple into lists
class Outcome:
    """The result of copying an original, or all of them."""

    files: Mapping[str, CopiedFile]  # path in the copy -> what lies there
    problems: tuple[Problem, ...] = ()  # what is wrong with the originals
    written: int = 0  # files that were not there


def prepare(
    plan: Plan,
    output: Path,
    earlier: Manifest,
    *,
    jobs: int,
    keep_bad: bool,
    progress: Callable[[int, int], None],
) -> Outcome:
    """Write the copy; files that are there and intact are kept, those no longer needed removed.

    An interrupted copy goes on where it was: a file of the copy is whole or absent at any time.

    Args:
        plan: What to write.
        output: Folder of the copy; created if missing.
        earlier: What is there, from :func:`check_output`.
        jobs: Number of processes; 1 works in this one.
        keep_bad: Copy images and labels that are damaged or do not fit each other as they are, so
            that splits stay the same and a run skips them; else they are left out.
        progress: Called with the number of finished originals and of all.

    Raises:
        ConfigError: Another process is writing to this folder.
        DataError: A file cannot be written.
        TrainingError: A process died.
    """
    output.mkdir(parents=True, exist_ok=True)
    try:
        lock = FolderLock(output)  # two processes would each remove what the other has not finished
    except BlockingIOError as error:
        raise ConfigError(f"--output {output}: another process is writing this copy") from error
    there, files = dict(earlier.files), dict[str, CopiedFile]()
    problems: list[Problem] = []
    written = 0
    copied = functools.partial(_copied, plan, output, earlier, keep_bad)
    outcomes = in_processes(
        copied,
        range(len(plan.originals)),
        jobs if jobs > 1 else 0,
        f"preparing {plan.base}",
        fewer="--jobs",
    )
    with closing(lock):
        Manifest(plan.origin, there).save(output)
        saved = time.monotonic()
        expected = {output / name for one in plan.originals for name in (*one.targets, MANIFEST)}
        for path in output.rglob(".*"):
            if _unfinished(path) in expected:
                path.unlink(missing_ok=True)
        try:
            for done, outcome in enumerate(outcomes, start=1):
                files |= outcome.files
                there |= outcome.files
                problems += outcome.problems
                written += outcome.written
                progress(done, len(plan.originals))
                if time.monotonic() > saved + SAVE_EVERY:
                    Manifest(plan.origin, there).save(output)
                    saved = time.monotonic()
        finally:
            Manifest(plan.origin, there).save(output)
        for path in (output / name for name in there.keys() - files.keys()):
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == output or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()
        Manifest(plan.origin, files).save(output)
    return Outcome(files, tuple(problems), written)


_Content = tuple[bytes, Size | None, Size | None]
"""The content of a file of the copy, and height and width before and after."""


def _copied(plan: Plan, output: Path, earlier: Manifest, keep_bad: bool, position: int) -> Outcome:
    original = plan.originals[position]
    stamps = {name: _stamp(path) for name, path in original.targets.items()}
    there = {name: earlier.files.get(name) for name in stamps}
    kept = {
        name: file
        for name, file in there.items()
        if file is not None
        and file.stamp == stamps[name]
        and not file.problem
        and file.size == (original.size or file.source_size)
        and file.is_intact(output / name)
    }
    if len(kept) == len(there):
        return Outcome(kept)
    contents, problems = _contents(original, plan.origin)
    if problems:
        contents = {}
        with suppress(DataError):  # nothing where the system does not give one of the files
            contents = _as_they_are(original) if keep_bad else {}
    text = " ".join(problem.message for problem in problems)
    files: dict[str, CopiedFile] = {}
    for name, (content, before, after) in contents.items():
        stamp = stamps[name]
        if stamp is None:  # it was not there before it was read
            continue
        try:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(output / name, content)
        except OSError as error:
            raise DataError(f"{error.filename or output}: {error.strerror or error}") from error
        source = Path(os.path.relpath(original.targets[name], plan.base)).as_posix()
        digest = hashlib.sha256(content).hexdigest()
        files[name] = CopiedFile(source, stamp, before, after, len(content), digest, text)
    return Outcome(files, tuple(problems), len(files))


def _stamp(path: Path) -> dict[str, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _as_they_are(original: Original) -> dict[str, _Content]:
    return {name: (_bytes(path), None, None) for name, path in original.targets.items()}


def _contents(original: Original, origin: Origin) -> tuple[dict[str, _Content], list[Problem]]:
    """Path in the copy -> its content, and the problems of files that have none."""
    if original.read_image is None:
        return _as_they_are(original), []
    problems: list[Problem] = []
    contents: dict[str, _Content] = {}
    image: ImageArray | None = None
    for name, path in original.targets.items():
        try:
            if path == original.path:
                image = original.read_image(path)
                contents[name] = _image_content(path, image, original.size, origin)
                continue
            raw = original.labels[path].read_raw_label(path)
            contents[name] = _label_content(path, raw, original.size)
        except DataError as error:
            problems.append(reading_problem(path, error))
            continue
        found = label_problems(original.labels[path], Sample("", original.path, path), image, raw)
        problems += [one for one in found if one.kind != "all void"]
    return contents, problems


def _image_content(path: Path, image: ImageArray, size: Size | None, origin: Origin) -> _Content:
    there = (image.shape[0], image.shape[1])
    if size in (None, there):  # a JPEG would lose by being written again
        return _bytes(path), there, there
    pixels = resized_image(torch.from_numpy(image).permute(2, 0, 1), size, origin.interpolation)
    smaller = pixels.permute(1, 2, 0).contiguous().numpy()
    if path.suffix.lower() == ".png":
        return encode_png(smaller, compression=origin.compression), there, size
    return encode_jpeg(smaller), there, size


def _label_content(path: Path, raw: LabelArray, size: Size | None) -> _Content:
    there = (raw.shape[0], raw.shape[1])
    ids, palette = raw, None
    # Class files of SBD, 16-bit labels of SYNTHIA, and masks of
    # colors or one bit become 8-bit PNGs with the same ids; the loaders of all know such files.
    if path.suffix.lower() == ".png" and stores_ids(path):
        if size in (None, there):
            return _bytes(path), there, there
        ids, palette = read_palette_png(path)
    smaller = resized_ids(torch.from_numpy(ids), size or there).numpy()
    return encode_png(smaller, palette), there, size or there
