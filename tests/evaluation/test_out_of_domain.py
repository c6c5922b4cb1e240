"""Scores of a network on data with other classes, against loops over pixels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.class_maps import ClassMap
from mixseg.data.contract import ClassSet, SegmentationDataset, lookup_table
from mixseg.data.voc import VOC
from mixseg.errors import DataError
from mixseg.evaluation.evaluator import evaluate
from mixseg.evaluation.out_of_domain import CommonClasses, common_classes
from mixseg.evaluation.scores import Scores
from mixseg.ignore import IGNORE
from tests.evaluation.toys import Brightest, write_dataset

Array = NDArray[np.uint8]

NETWORK = ClassSet(("road", "car", "truck"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
DATA = ClassSet(("vehicle", "boat", "street"), ((0, 0, 9), (1, 1, 9), (2, 2, 9)), (7, 8, 9))


def read_as(dataset: SegmentationDataset, classes: ClassSet) -> SegmentationDataset:
    table = {index: index for index in range(len(classes))}
    return replace(dataset, classes=classes, lookup=lookup_table(table, [IGNORE]))


def dataset_of(root: Path, seed: int = 0, classes: ClassSet = DATA) -> SegmentationDataset:
    """Random labels; the brightest channel of the images has nothing to do with them."""
    generator = np.random.default_rng(seed)
    labels = [generator.choice([0, 1, 2, IGNORE], (9, 13)).astype(np.uint8) for _ in range(3)]
    images = [generator.integers(0, 256, (9, 13, 3), dtype=np.uint8) for _ in range(3)]
    return read_as(write_dataset(root, labels, images), classes)


def write_map(path: Path, **pairs: str) -> Path:
    path.write_text("".join(f"{old}: {new}\n" for old, new in pairs.items()))
    return path


def transcription(
    pairs: list[tuple[Array, Array]], labels_to: list[int], predictions_to: list[int], classes: int
) -> tuple[list[float], float]:
    """IoU of each class and accuracy, pixel by pixel."""
    hits, unions, right, counted = [0] * classes, [0] * classes, 0, 0
    for predictions, labels in pairs:
        for guess, truth in zip(predictions.flat, labels.flat, strict=True):
            if truth == IGNORE or labels_to[truth] == IGNORE:
                continue
            true, said = labels_to[truth], predictions_to[guess]
            counted += 1
            right += true == said
            for index in range(classes):
                hits[index] += true == index and said == index
                unions[index] += true == index or said == index
    ious = [hit / union if union else float("nan") for hit, union in zip(hits, unions, strict=True)]
    return ious, right / counted


def brightest(dataset: SegmentationDataset) -> list[tuple[Array, Array]]:
    indices = range(len(dataset))
    return [
        (dataset.image(index).argmax(axis=2).astype(np.uint8), dataset.label(index))
        for index in indices
    ]


def scored(dataset: SegmentationDataset, common: CommonClasses, **how: Any) -> Scores:
    ways = {"joined": common.of_predictions, "judged": common.judged}
    return evaluate(Brightest(), common.labeled(dataset), **ways, **how)


def test_predictions_become_the_datas_classes(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    file = write_map(tmp_path / "map.yaml", road="street", car="vehicle", truck="ignore")
    common = common_classes(NETWORK, dataset, file)
    assert (common.mapped, common.classes) == ("predictions", DATA)
    assert common.judged == ("vehicle", "street")
    saved: list[Array] = []
    scores = scored(dataset, common, batch_size=3, on_image=lambda _, one: saved.append(one))
    to = [2, 0, IGNORE]
    ious, accuracy = transcription(brightest(dataset), [0, 1, 2], to, 3)
    assert scores.iou[1] is None  # boats are labeled, but the network has no class for them
    assert scores.iou[::2] == pytest.approx((ious[0], ious[2]), abs=1e-12)
    assert scores.miou == pytest.approx((ious[0] + ious[2]) / 2, abs=1e-12)
    assert scores.pixel_accuracy == pytest.approx(accuracy, abs=1e-12)
    for prediction, (guess, _) in zip(saved, brightest(dataset), strict=True):
        np.testing.assert_array_equal(prediction, np.array(to, dtype=np.uint8)[guess])
    text = " | ".join(common.describe())
    assert all(part in text for part in ("car -> vehicle", "ignored: truck", "not judged: boat"))
    assert common.mean_name(scores) == "mIoU over the 2 classes that both know"
    record = json.loads(json.dumps(common.to_json()))
    assert record["origin"] == str(file)
    assert record["joined"] == {"vehicle": ["car"], "street": ["road"]}
    assert (record["dropped"], record["never_predicted"]) == (["truck"], ["boat"])


def test_labels_become_the_networks_classes(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    file = write_map(tmp_path / "map.yaml", vehicle="car", boat="ignore", street="road")
    common = common_classes(NETWORK, dataset, file)
    assert (common.mapped, common.classes) == ("labels", NETWORK)
    assert common.judged == ("road", "car")  # nothing is labeled a truck
    scores = scored(dataset, common)
    ious, accuracy = transcription(brightest(dataset), [1, IGNORE, 0], [0, 1, 2], 3)
    assert scores.iou[2] is None
    assert scores.iou[:2] == pytest.approx(ious[:2], abs=1e-12)
    assert scores.miou == pytest.approx(sum(ious[:2]) / 2, abs=1e-12)
    assert scores.pixel_accuracy == pytest.approx(accuracy, abs=1e-12)
    assert "never labeled, not judged: truck" in common.describe()


def test_an_ignored_prediction_is_a_miss_and_nobodys_false_alarm(tmp_path: Path) -> None:
    # All is predicted a truck, which the data does not have.
    label, image = np.zeros((4, 4), np.uint8), np.full((4, 4, 3), (0, 0, 255), np.uint8)
    label[0] = 2
    dataset = read_as(write_dataset(tmp_path, [label], [image]), DATA)
    file = write_map(tmp_path / "map.yaml", road="street", car="vehicle", truck="ignore")
    common = common_classes(NETWORK, dataset, file)
    scores = scored(dataset, common)
    assert (scores.iou, scores.pixel_accuracy) == ((0.0, None, 0.0), 0.0)
    # Half of the streets right: the other half are misses, and vehicles lose nothing by them.
    image[0, :2], image[1:] = (255, 0, 0), (0, 255, 0)
    write_dataset(tmp_path, [label], [image])
    assert scored(dataset, common).iou == (1.0, None, 0.5)


def test_a_class_without_a_label_in_the_split_is_left_out(tmp_path: Path) -> None:
    label, image = np.zeros((4, 4), np.uint8), np.full((4, 4, 3), (0, 255, 0), np.uint8)
    image[0] = (255, 0, 0)
    dataset = read_as(write_dataset(tmp_path, [label], [image]), DATA)
    file = write_map(tmp_path / "map.yaml", road="street", car="vehicle", truck="vehicle")
    common = common_classes(NETWORK, dataset, file)
    scores = scored(dataset, common)
    # The street that was seen is a missed vehicle; no street could have been found.
    assert (scores.iou, scores.miou) == ((0.75, None, None), 0.75)
    assert "without a label in this split, not judged: street" in common.caption(scores)
    write_dataset(tmp_path, [label + 1], [image])  # boats alone
    with pytest.raises(DataError, match="vehicle, street"):
        scored(dataset, common)


def test_the_same_classes_need_no_map(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, classes=NETWORK)
    common = common_classes(NETWORK, dataset)
    assert common.is_plain and common.describe() == []
    plain = evaluate(Brightest(), dataset)
    assert scored(dataset, common) == plain
    assert common.mean_name(plain) == "mIoU"
    # Unless the data set is known to lack some of them.
    common = common_classes(NETWORK, replace(dataset, absent=("truck",)))
    assert common.judged == ("road", "car")
    assert "never labeled, not judged: truck" in common.describe()


def test_built_in_maps_join_and_never_split(tmp_path: Path) -> None:
    for other in (CAMVID, VOC):
        forth = common_classes(CITYSCAPES, dataset_of(tmp_path, classes=other))
        back = common_classes(other, dataset_of(tmp_path, classes=CITYSCAPES))
        assert (forth.mapped, back.mapped, forth.origin) == ("predictions", "labels", "built in")
        assert forth.classes is back.classes is other
        if other is CAMVID:
            assert forth.judged == back.judged == CAMVID.names


def test_of_two_ways_the_one_to_fewer_classes_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ClassSet(("thing",), ((0, 0, 0),))

    def built_in(source: ClassSet, target: ClassSet) -> ClassMap:
        name = "thing" if target is one else "car"
        return ClassMap(source, target, (name,) * len(source))

    monkeypatch.setattr("mixseg.evaluation.out_of_domain.built_in_map", built_in)
    assert common_classes(NETWORK, dataset_of(tmp_path, classes=one)).mapped == "predictions"
    assert common_classes(one, dataset_of(tmp_path, classes=NETWORK)).mapped == "labels"


def test_bad_maps_are_refused(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path)
    with pytest.raises(DataError, match="--class-map FILE"):
        common_classes(NETWORK, dataset)
    for pairs, wrong in (
        ({"road": "street", "car": "vehicel", "truck": "ignore"}, "line 2: .*'vehicle'"),
        ({"vehicle": "car", "bote": "ignore", "street": "road"}, "line 2: .*'boat'"),
        ({"vehicle": "car", "boat": "ignore"}, "street"),
    ):
        with pytest.raises(DataError, match=wrong):
            common_classes(NETWORK, dataset, write_map(tmp_path / "map.yaml", **pairs))
