"""What a table shows of a run, against means taken by hand."""

from __future__ import annotations

import pytest

from mixseg.ablation.metrics import METRICS, covered
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.evaluation.scores import Scores

NAMES = CITYSCAPES.names


def scores(classes: tuple[str, ...], iou: tuple[float | None, ...]) -> Scores:
    return Scores(classes, iou, 0.4, 0.9, 7, "native", "whole image")


def test_synthias_means() -> None:
    iou = tuple((index + 1) / 20 for index in range(19))
    by_name = dict(zip(NAMES, iou, strict=True))
    absent = {"terrain", "truck", "train"}
    found = {name: metric(scores(NAMES, iou)) for name, metric in METRICS.items()}
    for count, left_out in ((16, absent), (13, absent | {"wall", "fence", "pole"})):
        kept = [value for name, value in by_name.items() if name not in left_out]
        assert len(kept) == count
        assert found[f"mIoU-{count}"] == pytest.approx(sum(kept) / count)
    assert (found["mIoU"], found["pixel accuracy"]) == (0.4, 0.9)
    other = scores(("sky", "car"), (0.5, None))
    assert METRICS["mIoU-13"](other) is None and METRICS["mIoU-16"](other) is None


def test_means_over_fewer_classes() -> None:
    whole = scores(NAMES, (0.5,) * 19)
    partial = scores(NAMES, tuple(None if name in ("train", "bus") else 0.5 for name in NAMES))
    assert covered("mIoU", [whole, whole]) == "" == covered("pixel accuracy", [partial])
    assert covered("mIoU", [partial, partial]) == "17 of 19 classes"
    assert covered("mIoU", [whole, partial]) == "17 to 19 of 19 classes"
    assert covered("mIoU-16", [partial]) == "15 of 16 classes"  # train is none of them
