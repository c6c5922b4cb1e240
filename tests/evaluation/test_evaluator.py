from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mixseg.data.contract import SegmentationDataset
from mixseg.data.images import read_image
from mixseg.errors import ConfigError, DataError
from mixseg.evaluation.evaluator import evaluate
from mixseg.evaluation.inference import InferenceMode
from mixseg.evaluation.prediction import Predictor
from tests.evaluation.toys import CLASSES, Brightest, PerPixel, random_labels, write_dataset

SIZES = [(20, 30), (20, 30), (7, 11), (20, 30), (1, 1)]


@pytest.fixture
def mixed(tmp_path: Path) -> SegmentationDataset:
    """Images of different sizes, with noise instead of their labels."""
    generator = np.random.default_rng(5)
    labels = [random_labels(seed, *size) for seed, size in enumerate(SIZES)]
    images = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    return write_dataset(tmp_path, labels, images)


def test_a_network_that_knows_the_labels_scores_one(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, [random_labels(seed, 16, 24) for seed in range(3)])
    scores = evaluate(Brightest(), dataset)
    assert (scores.miou, scores.iou, scores.pixel_accuracy) == (1.0, (1.0, 1.0, 1.0), 1.0)
    assert (scores.images, scores.classes) == (3, CLASSES.names)
    assert (scores.resolution, scores.mode) == ("native", "whole image")


def test_one_matrix_for_the_split_and_not_a_mean_over_images(tmp_path: Path) -> None:
    right = np.zeros((2, 2), dtype=np.uint8)
    wrong = np.zeros((2, 6), dtype=np.uint8)
    images = [np.full((2, 2, 3), (255, 0, 0), np.uint8), np.full((2, 6, 3), (0, 255, 0), np.uint8)]
    scores = evaluate(Brightest(), write_dataset(tmp_path, [right, wrong], images))
    assert scores.iou == (4 / 16, 0.0, None)
    assert (scores.miou, scores.pixel_accuracy) == (1 / 8, 4 / 16)


def test_neither_workers_nor_batch_size_change_the_result(mixed: SegmentationDataset) -> None:
    sliding = {"mode": InferenceMode(slide=(8, 8), flip=True), "resolution": (13, 9)}
    for how in ({}, sliding):
        results = []
        for workers, batch_size in [(0, 1), (0, 2), (0, 5), (2, 3)]:
            seen: list[tuple[int, bytes]] = []

            def note(index: int, labels: NDArray[np.uint8], seen: list = seen) -> None:
                seen.append((index, labels.tobytes()))

            read = {"workers": workers, "batch_size": batch_size, "on_image": note}
            results.append((evaluate(PerPixel(), mixed, **how, **read), seen))
        assert all(result == results[0] for result in results)
        assert [index for index, _ in results[0][1]] == [0, 1, 2, 3, 4]


def test_labels_are_compared_where_asked(tmp_path: Path) -> None:
    # Blocks of 4x4 pixels survive halving and doubling except at their edges.
    label = random_labels(0, 8, 8, ignore=False).repeat(4, axis=0).repeat(4, axis=1)
    dataset = write_dataset(tmp_path, [label])
    shapes = []

    def note(index: int, labels: NDArray[np.uint8]) -> None:
        shapes.append(labels.shape)

    native = evaluate(Brightest(), dataset, input_size=(16, 16), on_image=note)
    half = evaluate(Brightest(), dataset, input_size=(16, 16), resolution=(16, 16), on_image=note)
    assert shapes == [(32, 32), (16, 16)]
    assert native.resolution == "native (input 16x16)" and native.pixel_accuracy > 0.75
    assert half.resolution == "16x16 (input 16x16)" and half.pixel_accuracy == 1.0


def test_predictions_handed_out_are_the_ones_scored(mixed: SegmentationDataset) -> None:
    right = labeled = 0

    def count(index: int, prediction: NDArray[np.uint8]) -> None:
        nonlocal right, labeled
        label = mixed.label(index)
        assert prediction.dtype == np.uint8
        right += int((prediction == label).sum())
        labeled += int((label != 255).sum())

    scores = evaluate(PerPixel(), mixed, batch_size=2, on_image=count)
    assert scores.pixel_accuracy == right / labeled
    seen: list[int] = []
    scores = evaluate(PerPixel(), mixed, limit=2, on_image=lambda index, labels: seen.append(index))
    assert (scores.images, seen) == (2, [0, 1])
    assert evaluate(PerPixel(), mixed, limit=99).images == len(SIZES)


def test_large_jpegs_are_scored_as_they_are_predicted(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    path = tmp_path / "image.jpg"
    Image.fromarray(noise).resize((240, 160)).save(path)
    dataset = write_dataset(tmp_path, [random_labels(0, 160, 240)])
    samples = (dataclasses.replace(dataset.samples[0], image=path),)
    dataset = dataclasses.replace(dataset, read_raw_image=read_image, samples=samples)
    seen: list[NDArray[np.uint8]] = []
    evaluate(
        Brightest(), dataset, input_size=(20, 30), on_image=lambda _, found: seen.append(found)
    )
    predicted = Predictor(Brightest(), CLASSES, (20, 30))(read_image(path))
    np.testing.assert_array_equal(seen[0], predicted)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_run_stays_as_it_was_and_bad_labels_are_named(
    mixed: SegmentationDataset, workers: int
) -> None:
    model = PerPixel().train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    evaluate(model, mixed, workers=workers)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    path = mixed.samples[2].label
    assert path is not None
    Image.fromarray(random_labels(0, 3, 3)).save(path)
    with pytest.raises(DataError, match="11x7") as caught:
        evaluate(PerPixel(), mixed, workers=workers)
    assert str(path) in str(caught.value) and "Traceback" not in str(caught.value)
    bare = tuple(dataclasses.replace(sample, label=None) for sample in mixed.samples)
    with pytest.raises(DataError, match="no label"):
        evaluate(PerPixel(), dataclasses.replace(mixed, samples=bare), workers=workers)


def test_what_cannot_be_scored(mixed: SegmentationDataset, tmp_path: Path) -> None:
    for outputs in (2, 4):
        with pytest.raises(DataError, match=f"{outputs} classes"):
            evaluate(PerPixel(num_classes=outputs), mixed)
    dataset = write_dataset(tmp_path, [np.full((2, 2), 255, dtype=np.uint8)])
    with pytest.raises(DataError, match="none of the 1 images"):
        evaluate(Brightest(), dataset)
    wrong = {"limit": 0, "batch_size": 0, "workers": -1}
    for name, value in (wrong | {"input_size": (0, 4), "resolution": (4, 0)}).items():
        with pytest.raises(ConfigError, match=name):
            evaluate(PerPixel(), mixed, **{name: value})
