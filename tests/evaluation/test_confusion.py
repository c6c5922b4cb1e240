from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.classification import MulticlassJaccardIndex

from mixseg.errors import DataError
from mixseg.evaluation.confusion import ConfusionMatrix, Scores
from mixseg.ignore import IGNORE

maps = st.tuples(st.integers(2, 7), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))


def draw(
    num_classes: int, height: int, width: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Prediction and label with few of the classes, so that absent ones are common."""
    generator = np.random.default_rng(seed)
    present = generator.choice(num_classes, size=generator.integers(1, num_classes + 1))
    prediction = generator.choice([*present, IGNORE], size=(height, width))
    label = generator.choice([*present, IGNORE], size=(height, width))
    return prediction.astype(np.uint8), label.astype(np.uint8)


def loop_iou(prediction: NDArray[np.uint8], label: NDArray[np.uint8], num_classes: int) -> list:
    """IoU by its definition, with sets of pixels."""
    scores = []
    for index in range(num_classes):
        counted = label != IGNORE
        guessed = (prediction == index) & counted
        true = (label == index) & counted
        union = (guessed | true).sum()
        scores.append((guessed & true).sum() / union if union else math.nan)
    return scores


def matrix_of(prediction: NDArray[np.uint8], label: NDArray[np.uint8], n: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(n)
    matrix.update(torch.from_numpy(prediction), torch.from_numpy(label))
    return matrix


@given(maps)
@settings(max_examples=100, deadline=None)
def test_iou_is_its_definition(shape: tuple[int, int, int, int]) -> None:
    prediction, label = draw(*shape)
    matrix = matrix_of(prediction, label, shape[0])
    expected = np.array(loop_iou(prediction, label, shape[0]))
    np.testing.assert_array_equal(matrix.iou().numpy(), expected)
    counted = label != IGNORE
    if counted.any():
        assert matrix.pixel_accuracy() == (prediction == label)[counted].mean()
        names = tuple(map(str, range(shape[0])))
        scores = Scores.of(matrix, names, images=1, resolution="native", mode="whole image")
        assert scores.miou == pytest.approx(np.nanmean(expected), abs=1e-12)
    else:
        assert math.isnan(matrix.pixel_accuracy())


@given(maps)
@settings(max_examples=40, deadline=None)
def test_iou_agrees_with_torchmetrics(shape: tuple[int, int, int, int]) -> None:
    prediction, label = draw(*shape)
    prediction[prediction == IGNORE] = 0  # torchmetrics has no prediction of no class
    metric = MulticlassJaccardIndex(num_classes=shape[0], average="none", ignore_index=IGNORE)
    theirs = metric(torch.from_numpy(prediction).long(), torch.from_numpy(label).long())
    ours = matrix_of(prediction, label, shape[0]).iou()
    # torchmetrics calls an absent class 0; here it has no score.
    torch.testing.assert_close(ours.nan_to_num(0.0).float(), theirs.float())


def test_known_matrix() -> None:
    matrix = ConfusionMatrix(4)
    matrix.update(torch.tensor([0, 0, 1, 1, 3]), torch.tensor([0, 1, 1, IGNORE, 0]))
    assert matrix.counts().tolist() == [
        [1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    iou = matrix.iou()
    assert iou.dtype == torch.float64
    assert iou[:2].tolist() == [1 / 3, 1 / 2]
    assert math.isnan(iou[2])
    assert iou[3] == 0  # predicted, never right: absent only from the labels
    assert matrix.pixel_accuracy() == 0.5


@given(maps, st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_shards_add_up_to_the_whole(shape: tuple[int, int, int, int], shards: int) -> None:
    prediction, label = draw(*shape)
    total = ConfusionMatrix(shape[0])
    for part in range(shards):
        rows = slice(part, None, shards)
        total.update(torch.from_numpy(prediction[rows]), torch.from_numpy(label[rows]))
    whole = matrix_of(prediction, label, shape[0])
    assert torch.equal(total.counts(), whole.counts())


def test_counts_stay_exact_where_floats_would_not() -> None:
    matrix = ConfusionMatrix(2)
    ones = torch.ones((1,), dtype=torch.uint8)
    matrix.update(ones, ones)
    matrix._cells *= 2**30  # float32 would lose the next one
    matrix.update(ones, ones)
    assert matrix.counts()[1, 1] == 2**30 + 1


def test_shapes_must_agree() -> None:
    with pytest.raises(DataError, match=r"\(2, 3\).*\(3, 2\)"):
        ConfusionMatrix(2).update(torch.zeros(2, 3), torch.zeros(3, 2))


@pytest.mark.parametrize(("prediction", "label"), [(3, 0), (0, 3), (254, 0), (0, 200), (-1, 0)])
def test_ids_of_no_class_are_found(prediction: int, label: int) -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([prediction, 0]), torch.tensor([label, 0]))
    with pytest.raises(DataError, match=r"1 labelled pixels .* outside 0\.\.2"):
        matrix.iou()


def test_prediction_under_ignore_does_not_matter() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([255, 1]), torch.tensor([IGNORE, 1]))
    assert matrix.counts().sum() == 1


def test_scores_survive_json() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    scores = Scores.of(matrix, ("a", "b", "c"), images=1, resolution="native", mode="whole image")
    assert scores.iou == (0.5, 0.0, None)
    assert scores.miou == 0.25
    text = json.dumps(scores.to_json(), allow_nan=False)
    assert Scores.from_json(json.loads(text)) == scores
    # Scores of an earlier version say nothing of labels.
    earlier = {key: value for key, value in json.loads(text).items() if key != "unlabeled"}
    assert Scores.from_json(earlier).unlabeled == ()


@given(maps)
@settings(max_examples=40, deadline=None)
def test_coverage_names_the_classes_without_a_label(shape: tuple[int, int, int, int]) -> None:
    prediction, label = draw(*shape)
    label[0, 0] = prediction[0, 0] = 0  # or there is nothing to score
    names = tuple("abcdefg"[: shape[0]])
    matrix = matrix_of(prediction, label, shape[0])
    scores = Scores.of(matrix, names, images=1, resolution="native", mode="whole image")
    absent = {name for index, name in enumerate(names) if not (label == index).any()}
    guessed = {n for i, n in enumerate(names) if (prediction[label != IGNORE] == i).any()}
    assert set(scores.unlabeled) == absent
    assert scores.counted == len(names) - len(absent - guessed)
    coverage = scores.coverage()
    assert (coverage == "") == (not absent)
    assert all(name in coverage.split("no pixel of: ", 1)[1] for name in absent)
    of = f"mean over {scores.counted} of {len(names)} classes"
    assert (of in coverage) == (of in scores.coverage(named=False)) == bool(absent - guessed)
    assert ("counted as 0" in coverage) == bool(absent & guessed)


def test_a_split_without_labelled_pixels_has_no_scores() -> None:
    with pytest.raises(DataError, match="none of the 4 images has a labelled pixel"):
        Scores.of(ConfusionMatrix(1), ("a",), images=4, resolution="native", mode="whole image")
