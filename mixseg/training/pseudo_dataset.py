"""Pseudo-labels of a set of images as a data set in a folder, complete or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixseg.config.yaml import dump_yaml
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.folder import DESCRIPTION
from mixseg.data.images import ImageArray, LabelArray, read_image
from mixseg.data.pairing import IMAGE_ENDINGS
from mixseg.distributed import by_first, summed, together, wait_for_all, world
from mixseg.errors import DataError
from mixseg.evaluation.inference import predict_probabilities
from mixseg.evaluation.prediction import Predictor, Write, picture_writer, write_picture
from mixseg.evaluation.scores import ConfusionMatrix
from mixseg.files import flush_folder, read_bytes, read_json, write_atomically
from mixseg.ignore import IGNORE, max_and_argmax
from mixseg.targets.class_balance import ConfidenceHistogram, confidence_of, selected

LOG = logging.getLogger("mixseg")

RECORD = "pseudo_labels.json"
"""File of the data set that says how it was made, and has a digest of its files."""

TRAIN, VAL = "train", "val"
"""Splits of the data set."""


class Labeled(NamedTuple):
    """Images that keep their true labels beside those with pseudo-labels.

    Attributes:
        split: :data:`TRAIN` or :data:`VAL`.
        folder: Folder in the split, so that no id is that of another image; empty for none.
        dataset: Where they come from.
        indices: Which of its samples they are.
    """

    split: str
    folder: str
    dataset: SegmentationDataset
    indices: Sequence[int]


def write_pseudo_dataset(
    path: Path,
    predictor: Predictor,
    dataset: SegmentationDataset,
    indices: Sequence[int],
    share: float,
    about: Mapping[str, Any],
    *,
    labeled: Sequence[Labeled] = (),
    skip_bad: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Label images and write them as a data set of the layout ``folder``.

    Of each class the most confident pixels count, the others are 255. Images are predicted twice,
    first to find the thresholds, so that neither memory nor disk has to hold all confidences.
    Images are links to the files that are there. Several processes take images in turn.

    Args:
        path: The folder, which must not exist; it appears when all is written.
        predictor: The network, and the size at which it sees images, as in evaluation.
        dataset: Where unlabeled images come from. True labels that it has are compared with the
            pseudo-labels and not used otherwise.
        indices: Which of its samples are labeled.
        share: Of the pixels that are predicted as a class, those that count, in (0, 1].
        about: JSON that is kept with the data set.
        labeled: Images that are added with their true labels.
        skip_bad: Leave out images that cannot be read.
        on_progress: Called with the predictions done in this process, and all of them.

    Returns:
        The content of :data:`RECORD`: ``about``, ``share``, ``images``, ``skipped``, and by class
        ``classes`` (names), ``predicted`` and ``counted`` (pixels), ``thresholds`` (confidences)
        and ``precision`` (share of the counted pixels that are right); ``accuracy`` of the counted
        pixels and ``accuracy_of_all`` of all predictions, where true labels are known, else None;
        and ``digest`` of the files.

    Raises:
        DataError: An image cannot be read, or the folder cannot be written to.
    """
    draft = path.with_name(f".{path.name}.new")
    classes, device = predictor.classes, torch.device(predictor.device)
    own = list(indices)[world().rank :: world().size]
    done, skipped = 0, []

    def advance() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, 2 * len(own))

    def readable(index: int) -> ImageArray | None:
        try:
            return dataset.image(index)
        except DataError as error:
            if not skip_bad:
                raise
            if index not in skipped:
                LOG.warning(f"left out: {error}")
                skipped.append(index)
            return None

    def begin() -> None:
        with _explained(draft):
            if draft.exists():  # left by a process that was killed here
                shutil.rmtree(draft)
            draft.mkdir(parents=True)

    by_first(begin)
    histogram = ConfidenceHistogram(len(classes), device)

    def count() -> None:
        for index in own:
            if (image := readable(index)) is not None:
                histogram.update(*_prediction(predictor, image))
            advance()

    together(count)
    histogram.counts = summed(histogram.counts)
    lowest = histogram.lowest_bins(share)
    found = torch.zeros(len(classes) + 1, dtype=torch.int64)
    right, right_of_all = (ConfusionMatrix(len(classes), "cpu") for _ in range(2))

    def write_own() -> None:
        with _explained(draft), picture_writer() as write:
            for index in own:
                image = readable(index)
                advance()
                if image is None:
                    continue
                labels, confidence = _prediction(predictor, image)
                kept = selected(labels, confidence, lowest).cpu()
                place = _Place(draft, TRAIN, dataset.samples[index].id)
                _write_pair(write, place, dataset, index, image, kept.numpy(), classes)
                known = kept.where(kept != IGNORE, len(classes)).long().flatten()
                found.add_(torch.bincount(known, minlength=len(classes) + 1))
                if (truth := _truth(dataset, index)) is not None:
                    right.update(kept, truth)
                    right_of_all.update(labels.cpu(), truth)

    def write_labeled() -> None:
        with _explained(draft), picture_writer() as write:
            for split, folder, images, chosen in labeled:
                for index in chosen:
                    place = _Place(draft, split, f"{folder}{images.samples[index].id}")
                    pixels, truth = images.pair(index)
                    _write_pair(write, place, images, index, pixels, truth, classes)

    together(write_own)
    by_first(write_labeled)
    found, left_out = summed(found), int(summed(torch.tensor(len(skipped))))
    for matrix in (right, right_of_all):
        matrix.join()
    agreement = right.counts()[:, :-1].double()
    hits, compared = agreement.diagonal(), agreement.sum(dim=0)
    record = {
        **about,
        "share": share,
        "images": len(indices) - left_out,
        "skipped": left_out,
        "classes": list(classes.names),
        "predicted": histogram.counts.sum(dim=1).tolist(),
        "counted": found[:-1].tolist(),
        "thresholds": [round(one, 7) for one in confidence_of(lowest).tolist()],
        "precision": [_ratio(*pair) for pair in zip(hits.tolist(), compared.tolist(), strict=True)],
        "accuracy": _ratio(float(hits.sum()), float(compared.sum())),
        "accuracy_of_all": _accuracy(right_of_all),
    }

    def publish() -> None:
        with _explained(draft):
            write_atomically(draft / DESCRIPTION, _description(classes))
            record["digest"] = digest_of(draft)
            write_atomically(draft / RECORD, json.dumps(record, indent=1))
            draft.rename(path)
            flush_folder(path.parent)

    if record["images"] == 0 or not any(record["counted"]):
        raise DataError(f"{dataset.root}: no image of it could be labeled")
    by_first(publish)
    wait_for_all()
    return read_pseudo_record(path)


def read_pseudo_record(path: Path) -> dict[str, Any]:
    """What :func:`write_pseudo_dataset` has returned for a data set, whose files are compared.

    Raises:
        DataError: It is missing or damaged, or files have changed since.
    """
    try:
        record = read_json(path / RECORD)
        kept = record["digest"]
        # Images are links to files that the record of a run's data does not look into either.
        now = digest_of(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path / RECORD}: missing or damaged ({error}). Delete {path}: the same command then "
            "labels its images again"
        ) from error
    if kept != now:
        raise DataError(
            f"{path}: its files have changed since they were written. Bring them back, or delete "
            "the folder and the rounds from it on: the same command then makes them anew"
        )
    found: dict[str, Any] = record
    return found


def digest_of(path: Path) -> str:
    """SHA-256 over the names of the images of a data set, and names and content of other files."""
    known = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if not one.is_dir()):
        name = file.relative_to(path).as_posix()
        if name == RECORD:
            continue
        content = "" if name.startswith("images/") else hashlib.sha256(read_bytes(file)).hexdigest()
        known.update(json.dumps([name, content]).encode())
    return known.hexdigest()


class _Place(NamedTuple):
    root: Path
    split: str
    id: str

    def image(self, ending: str) -> Path:
        return self.root / "images" / self.split / f"{self.id}{ending}"

    @property
    def label(self) -> Path:
        return self.root / "labels" / self.split / f"{self.id}.png"


def _prediction(predictor: Predictor, image: ImageArray) -> tuple[Tensor, Tensor]:
    """Train ids and confidences at the size of the image, each (H, W), on the device."""
    size = (image.shape[0], image.shape[1])
    confidence, labels = max_and_argmax(
        predict_probabilities(
            predictor.model,
            predictor.pixels(image),
            predictor.mode,
            size=size,
            autocast=predictor.autocast,
        )
    )
    return labels[0], confidence[0]


def _truth(dataset: SegmentationDataset, index: int) -> Tensor | None:
    """The true label of an image, where it has one that can be read."""
    if dataset.samples[index].label is None:
        return None
    try:
        return torch.from_numpy(dataset.pair(index)[1])
    except DataError:  # which does not matter: it is for the log alone
        return None


def _write_pair(
    write: Write,
    place: _Place,
    dataset: SegmentationDataset,
    index: int,
    image: ImageArray,
    labels: LabelArray,
    classes: ClassSet,
) -> None:
    """Write a label, and a link to its image, or a copy of an image that is read in another way."""
    source = dataset.samples[index].image
    raw = _raw_ids(labels, classes)
    works: list[Callable[[], None]] = [partial(write_picture, place.label, raw)]
    ending = source.suffix if source.suffix.lower() in IMAGE_ENDINGS else ".png"
    if _is_read_as_stored(dataset, index, image):
        link = place.image(ending)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.realpath(source))
    else:
        works.append(partial(write_picture, place.image(".png"), image))
    write(labels.size, works)


def _is_read_as_stored(dataset: SegmentationDataset, index: int, image: ImageArray) -> bool:
    if dataset.read_raw_image is read_image:
        return True
    # Such as a photograph that is turned upright, or a format of somebody's own layout.
    try:
        return np.array_equal(read_image(dataset.samples[index].image), image)
    except DataError:
        return False


def _raw_ids(labels: LabelArray, classes: ClassSet) -> LabelArray:
    """Train ids as the ids of the data set's own files, which predictions of a run are written in;
    255 stays."""
    if not _has_own_ids(classes):
        return labels
    table = np.full(256, IGNORE, dtype=np.uint8)
    table[: len(classes)] = classes.label_ids
    return table[labels]


def _has_own_ids(classes: ClassSet) -> bool:
    ids = classes.label_ids
    return bool(ids) and len({*ids, IGNORE}) == len(classes) + 1


def _description(classes: ClassSet) -> str:
    """The ``dataset.yaml`` of the classes."""
    content: dict[str, Any] = {
        "names": list(classes.names),
        "palette": [list(color) for color in classes.palette],
    }
    if _has_own_ids(classes):
        content["id_map"] = {raw: train for train, raw in enumerate(classes.label_ids)}
    return dump_yaml(content)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _accuracy(matrix: ConfusionMatrix) -> float | None:
    accuracy = matrix.pixel_accuracy()
    return None if np.isnan(accuracy) else accuracy


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise DataError(f"{where}: cannot be written: {error.strerror or error}") from error
