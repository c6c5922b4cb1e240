"""Means over some of the classes, and the papers' columns."""

from __future__ import annotations

import numpy as np
import pytest

from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.synthia import ABSENT
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.protocols import ABSENT_IN_SYNTHIA, mean_over, paper_table, protocol

# Tranheden & Olsson, Table 4.4: the row of the method, and the two means that stand at its end.
ROW = "80.56 25.12 81.90 21.46 2.85 37.20 22.67 23.99 83.69 90.77 67.61 38.33 82.92 38.90 28.49"
IOU = [float(value) for value in f"{ROW} 47.58".split()]


def thesis() -> Scores:
    """Scores whose 16 classes are those of the thesis; the absent three have none."""
    values = iter(IOU)
    iou = [0.0 if name in ABSENT else next(values) / 100 for name in CITYSCAPES.names]
    return Scores(CITYSCAPES.names, tuple(iou), float(np.mean(iou)), 0.9, 500, "native", "whole")


def test_the_means_are_those_that_the_thesis_printed() -> None:
    means = protocol("synthia", CITYSCAPES.names)
    assert len(means["mIoU-16"]) == 16
    assert len(means["mIoU-13"]) == 13
    found = [mean_over(thesis(), means[name]) for name in ("mIoU-13", "mIoU-16")]
    assert found == [pytest.approx(0.5481, abs=5e-5), pytest.approx(0.4834, abs=5e-4)]


def test_the_table_has_the_columns_of_the_thesis() -> None:
    lines = paper_table({"teacher, last step": thesis()}, "synthia").splitlines()
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")]
    columns = "Road SW Build Wall* Fence* Pole* TL TS Veg Sky Person Rider Car Bus MC Bike"
    assert heads[1:17] == columns.split()
    assert heads[17:] == ["mIoU-19", "mIoU* (13)", "mIoU (16)"]
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert [float(cell) for cell in cells[1:17]] == IOU
    lines = paper_table({"a": thesis(), "b": thesis()}, "gta5").splitlines()
    assert lines[0].count("|") == lines[3].count("|") == 22
    assert "Terrain" in lines[0]
    assert lines[0].endswith("Bike | mIoU |")


def test_names_are_text_and_nothing_else() -> None:
    name = "<img src=x>|*b*\x1b[2J\n_c_"
    table = paper_table({name: Scores((name,), (0.5,), 0.5, 0.5, 1, "native", "whole")}, None)
    head, _, row, _, legend = table.splitlines()
    assert head.replace("\\|", "").count("|") == row.replace("\\|", "").count("|") == 4
    for cell in (head, row):
        assert "<" not in cell
        assert "\x1b" not in cell
        assert "\\*b\\*" in cell
    assert legend == "The network has 1 classes."


def test_other_sources_and_classes_have_one_mean() -> None:
    assert protocol("gta5", CITYSCAPES.names) == {}
    assert protocol(None, CITYSCAPES.names) == {}
    assert protocol("synthia", CAMVID.names) == {}
    assert ABSENT_IN_SYNTHIA == ABSENT


def test_classes_without_an_iou_are_left_out() -> None:
    scores = Scores(("a", "b", "c"), (0.5, None, 0.1), 0.3, 0.9, 1, "native", "whole")
    assert mean_over(scores, ("a", "b")) == 0.5
    assert mean_over(scores, ("b",)) is None
