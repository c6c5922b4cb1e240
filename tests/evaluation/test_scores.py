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
from mixseg.evaluation.scores import ConfusionMatrix, Scores
from mixseg.ignore import IGNORE

Maps = tuple[int, int, int, int]
maps = st.tuples(st.integers(2, 7), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))


def draw(shape: Maps) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Prediction and label with few of the classes, so that absent ones are common."""
    num_classes, height, width, seed = shape
    generator = np.random.default_rng(seed)
    present = generator.choice(num_classes, size=generator.integers(1, num_classes + 1))
    prediction = generator.choice([*present, IGNORE], size=(height, width))
    label = generator.choice([*present, IGNORE], size=(height, width))
    return prediction.astype(np.uint8), label.astype(np.uint8)


def matrix_of(prediction: NDArray[np.uint8], label: NDArray[np.uint8], n: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(n)
    matrix.update(torch.from_numpy(prediction), torch.from_numpy(label))
    return matrix


def scores_of(matrix: ConfusionMatrix) -> Scores:
    names = tuple("abcdefg"[: matrix.num_classes])
    return Scores.of(matrix, names, images=1, resolution="native", mode="whole image")


@given(maps, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_scores_are_their_definition(shape: Maps, shards: int) -> None:
    prediction, label = draw(shape)
    matrix = matrix_of(prediction, label, shape[0])
    counted = label != IGNORE
    expected = []
    for index in range(shape[0]):
        guessed, true = (prediction == index) & counted, (label == index) & counted
        union = (guessed | true).sum()
        expected.append((guessed & true).sum() / union if union else math.nan)
    np.testing.assert_array_equal(matrix.iou().numpy(), np.array(expected))
    if counted.any():
        assert matrix.pixel_accuracy() == (prediction == label)[counted].mean()
        assert scores_of(matrix).miou == pytest.approx(np.nanmean(expected), abs=1e-12)
    else:
        assert math.isnan(matrix.pixel_accuracy())
    # Shards add up to the whole.
    total = ConfusionMatrix(shape[0])
    for part in range(shards):
        rows = slice(part, None, shards)
        total.update(torch.from_numpy(prediction[rows]), torch.from_numpy(label[rows]))
    assert torch.equal(total.counts(), matrix.counts())
    # torchmetrics has no prediction of no class, and calls an absent class 0.
    prediction[prediction == IGNORE] = 0
    metric = MulticlassJaccardIndex(num_classes=shape[0], average="none", ignore_index=IGNORE)
    theirs = metric(torch.from_numpy(prediction).long(), torch.from_numpy(label).long())
    ours = matrix_of(prediction, label, shape[0]).iou()
    torch.testing.assert_close(ours.nan_to_num(0.0).float(), theirs.float())


def test_known_matrix() -> None:
    matrix = ConfusionMatrix(4)
    # The last prediction lies under an ignored label, and may be anything.
    matrix.update(torch.tensor([0, 0, 1, 1, 3, 77]), torch.tensor([0, 1, 1, IGNORE, 0, IGNORE]))
    rows = [[1, 0, 0, 1, 0], [1, 1, 0, 0, 0], [0] * 5, [0] * 5]
    assert matrix.counts().tolist() == rows
    iou = matrix.iou()
    assert iou.dtype == torch.float64 and iou[:2].tolist() == [1 / 3, 1 / 2]
    assert math.isnan(iou[2])
    assert iou[3] == 0  # predicted, never right: absent only from the labels
    assert matrix.pixel_accuracy() == 0.5


def test_counts_stay_exact_where_floats_would_not() -> None:
    matrix = ConfusionMatrix(2)
    ones = torch.ones((1,), dtype=torch.uint8)
    matrix.update(ones, ones)
    matrix._cells *= 2**30  # float32 would lose the next one
    matrix.update(ones, ones)
    assert matrix.counts()[1, 1] == 2**30 + 1


def test_what_has_no_scores() -> None:
    for prediction, label in ((3, 0), (0, 3), (254, 0), (0, 200), (-1, 0)):
        matrix = ConfusionMatrix(3)
        matrix.update(torch.tensor([prediction, 0]), torch.tensor([label, 0]))
        with pytest.raises(DataError, match=r"1 labeled pixels .* 0\.\.2"):
            matrix.iou()
    with pytest.raises(DataError, match=r"\(2, 3\).*\(3, 2\)"):
        ConfusionMatrix(2).update(torch.zeros(2, 3), torch.zeros(3, 2))
    with pytest.raises(DataError, match="none of the 1 images"):
        scores_of(ConfusionMatrix(1))


def test_scores_survive_json() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    scores = scores_of(matrix)
    assert (scores.iou, scores.miou) == ((0.5, 0.0, None), 0.25)
    content = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert Scores.from_json(content) == scores
    # Scores of an earlier version do not say which classes are unlabeled.
    del content["unlabeled"]
    assert Scores.from_json(content).unlabeled == ()


@given(maps)
@settings(max_examples=40, deadline=None)
def test_coverage_names_the_classes_without_a_label(shape: Maps) -> None:
    prediction, label = draw(shape)
    label[0, 0] = prediction[0, 0] = 0  # or there is nothing to score
    scores = scores_of(matrix_of(prediction, label, shape[0]))
    names = scores.classes
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
