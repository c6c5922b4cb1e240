"""What a table shows of a run, against means taken by hand."""

from __future__ import annotations

import pytest

from mixseg.ablation.metrics import METRICS, covered
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.evaluation.scores import Scores


def scores(classes: tuple[str, ...], iou: tuple[float | None, ...]) -> Scores:
    return Scores(classes, iou, 0.4, 0.9, 7, "native", "whole image")


def test_synthias_means() -> None:
    names = CITYSCAPES.names
    iou = tuple((index + 1) / 20 for index in range(19))
    by_name = dict(zip(names, iou, strict=True))
    absent = {"terrain", "truck", "train"}
    sixteen = [value for name, value in by_name.items() if name not in absent]
    rare = absent | {"wall", "fence", "pole"}
    thirteen = [value for name, value in by_name.items() if name not in rare]
    found = {name: metric(scores(names, iou)) for name, metric in METRICS.items()}
    assert (len(sixteen), len(thirteen)) == (16, 13)
    assert found["mIoU-16"] == pytest.approx(sum(sixteen) / 16)
    assert found["mIoU-13"] == pytest.approx(sum(thirteen) / 13)
    assert (found["mIoU"], found["pixel accuracy"]) == (0.4, 0.9)


def test_means_over_fewer_classes() -> None:
    names = CITYSCAPES.names
    whole = scores(names, (0.5,) * 19)
    partial = scores(names, tuple(None if name in ("train", "bus") else 0.5 for name in names))
    assert covered("mIoU", [whole, whole]) == "" == covered("pixel accuracy", [partial])
    assert covered("mIoU", [partial, partial]) == "17 of 19 classes"
    assert covered("mIoU", [whole, partial]) == "17 to 19 of 19 classes"
    assert covered("mIoU-16", [partial]) == "15 of 16 classes"  # train is none of them


def test_other_classes_have_no_such_means() -> None:
    other = scores(("sky", "car"), (0.5, None))
    assert METRICS["mIoU-13"](other) is None and METRICS["mIoU-16"](other) is None
