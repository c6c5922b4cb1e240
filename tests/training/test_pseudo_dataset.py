"""Pseudo-labels of images as files, against the same selection by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mixseg.data.contract import ClassSet, Sample, SegmentationDataset
from mixseg.data.layout import open_dataset
from mixseg.data.unlabeled import open_unlabeled
from mixseg.errors import DataError
from mixseg.evaluation.prediction import Predictor
from mixseg.training.pseudo_dataset import (
    RECORD,
    Labeled,
    read_pseudo_record,
    write_pseudo_dataset,
)
from tests.data.layouts import write_turned

SHARE = 0.3  # at which no two pixels of a class share the bin of its threshold
CLASSES = ClassSet(("no", "on", "leaf"), ((0, 0, 0), (9, 9, 9), (0, 200, 0)), (7, 0, 33))


class Colors(nn.Module):
    """The color channels of a pixel are the probabilities of three classes, up to a factor."""

    def forward(self, images: Tensor) -> Tensor:
        return images.log()


def picture(seed: int, size: tuple[int, int] = (10, 14)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (*size, 3), dtype=np.uint8)


def by_hand(images: list[NDArray[np.uint8]], share: float) -> list[NDArray[np.uint8]]:
    """Of each class the most confident pixels over all images."""
    shares = [one / one.sum(axis=2, keepdims=True, dtype=np.float64) for one in images]
    best, labels = ([f(one, axis=2) for one in shares] for f in (np.max, np.argmax))
    kept = [np.full(one.shape, 255, dtype=np.uint8) for one in labels]
    for index in range(3):
        of_class = np.concatenate([b[one == index] for b, one in zip(best, labels, strict=True)])
        last = np.sort(of_class)[::-1][round(share * len(of_class)) - 1]
        for place, b, one in zip(kept, best, labels, strict=True):
            place[(one == index) & (b >= last * (1 - 1e-6))] = index
    return kept


def write(path: Path, images: SegmentationDataset, **more: object) -> dict[str, object]:
    predictor = Predictor(Colors(), CLASSES)
    indices = range(len(images))
    return write_pseudo_dataset(path, predictor, images, indices, SHARE, {"of": 1}, **more)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs of two sizes, one of which is turned by its EXIF orientation."""
    (tmp_path / "in" / "a b").mkdir(parents=True)
    Image.fromarray(picture(0)).save(tmp_path / "in" / "a b" / "0.x.png")
    write_turned(tmp_path / "in" / "1.png", picture(1, (12, 8)), 6)
    Image.fromarray(picture(2)).save(tmp_path / "in" / "2.png")
    return tmp_path / "in"


def test_files_are_those_of_a_selection_by_hand(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "half.png").touch()  # of a process that was killed
    record = write(tmp_path / "out", open_unlabeled(folder, CLASSES))
    assert not (tmp_path / ".out.new").exists()
    assert not list((tmp_path / "out").rglob("half.png"))
    found = open_dataset("folder", tmp_path / "out", "train")
    assert found.classes == CLASSES
    assert [sample.id for sample in found.samples] == ["1", "2", "a b/0.x"]
    seen = [picture(1, (12, 8)), picture(2), picture(0)]
    expected = by_hand(seen, SHARE)
    for index in range(3):
        image, labels = found.pair(index)
        np.testing.assert_array_equal(image, seen[index])
        np.testing.assert_array_equal(labels, expected[index])
    counts = np.bincount(np.concatenate([one.ravel() for one in expected]), minlength=256)
    assert record["counted"] == counts[:3].tolist()
    assert record["accuracy"] is None and record["images"] == 3
    # Images that are read as they are stored take no room.
    links = {path.name: path.is_symlink() for path in (tmp_path / "out/images").rglob("*.png")}
    assert links == {"0.x.png": True, "1.png": False, "2.png": True}


def test_true_labels_are_compared_and_others_added(folder: Path, tmp_path: Path) -> None:
    images = open_unlabeled(folder, CLASSES)
    # True labels: those by hand, but class 0 in place of class 1.
    seen = [picture(1, (12, 8)), picture(2), picture(0)]
    right = [one.argmax(axis=2).astype(np.uint8) for one in seen]
    samples = []
    for sample, labels in zip(images.samples, right, strict=True):
        truth = np.where(labels == 1, 0, labels).astype(np.uint8)
        path = tmp_path / "truth" / f"{sample.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth).save(path)
        samples.append(Sample(sample.id, sample.image, path))
    known = dataclasses.replace(images, samples=tuple(samples))
    val = [Labeled("val", "", known, [2]), Labeled("train", "labeled/", known, [1])]
    record = write(tmp_path / "out", known, labeled=val)
    counted = np.array(record["counted"])
    assert record["precision"] == [1.0, 0.0, 1.0]
    assert record["accuracy"] == pytest.approx(1 - counted[1] / counted.sum())
    pixels = np.concatenate([one.ravel() for one in right])
    assert record["accuracy_of_all"] == pytest.approx((pixels != 1).mean())
    for split, key, index in (("val", "a b/0.x", 2), ("train", "labeled/2", 1)):
        dataset = open_dataset("folder", tmp_path / "out", split)
        (place,) = (i for i, one in enumerate(dataset.samples) if one.id == key)
        np.testing.assert_array_equal(dataset.label(place), known.label(index))


def test_changed_files_are_noticed(folder: Path, tmp_path: Path) -> None:
    record = write(tmp_path / "out", open_unlabeled(folder, CLASSES))
    assert read_pseudo_record(tmp_path / "out") == record
    assert json.loads((tmp_path / "out" / RECORD).read_text())["of"] == 1
    label = tmp_path / "out/labels/train/2.png"
    Image.new("L", (14, 10)).save(label)
    with pytest.raises(DataError, match="have changed"):
        read_pseudo_record(tmp_path / "out")
    (tmp_path / "out" / RECORD).unlink()
    with pytest.raises(DataError, match=RECORD):
        read_pseudo_record(tmp_path / "out")


def test_images_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    (folder / "2.png").write_bytes(b"nothing")
    images = open_unlabeled(folder, CLASSES)
    with pytest.raises(DataError, match=r"2\.png"):
        write(tmp_path / "out", images)
    assert not (tmp_path / "out").exists()
    record = write(tmp_path / "out", images, skip_bad=True)
    assert (record["images"], record["skipped"]) == (2, 1)
    assert len(open_dataset("folder", tmp_path / "out", "train")) == 2


def test_predictions_are_made_at_the_size_of_evaluation(folder: Path, tmp_path: Path) -> None:
    sizes = []

    class Watching(Colors):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(tuple(images.shape[-2:]))
            return super().forward(images)

    predictor = Predictor(Watching(), CLASSES, input_size=(5, 7))
    write_pseudo_dataset(
        tmp_path / "out", predictor, open_unlabeled(folder, CLASSES), [0, 1], 1.0, {}
    )
    assert set(sizes) == {(5, 7)}
    labels = open_dataset("folder", tmp_path / "out", "train")
    whole = predictor(labels.image(1))
    assert labels.label(1).shape == (10, 14)
    # Of all pixels of each class; labels of evaluation are the maximum of resized logits.
    assert (labels.label(1) == whole).mean() > 0.95
    assert torch.is_grad_enabled()
