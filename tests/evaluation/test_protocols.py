"""Tables of scores: means over some of the classes, and the papers' columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixseg.data.camvid import CAMVID
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.synthia import ABSENT
from mixseg.evaluation.protocols import mean_over, paper_table, protocol, scores_table
from mixseg.evaluation.scores import Scores
from mixseg.terminal import new_console, show

# Tranheden & Olsson, Table 4.4: the row of the method, and the two means that stand at its end.
ROW = "80.56 25.12 81.90 21.46 2.85 37.20 22.67 23.99 83.69 90.77 67.61 38.33 82.92 38.90 28.49"
IOU = [float(value) for value in f"{ROW} 47.58".split()]

STUDENT = Scores(
    classes=("road", "[red]sky[/red]", "tree\x1b[31m"),
    iou=(0.98765, 0.5, None),
    miou=0.743825,
    pixel_accuracy=0.9,
    images=7,
    resolution="512x1024",
    mode="whole image, flip",
)


def thesis() -> Scores:
    """Scores whose 16 classes are those of the thesis; the absent three have none."""
    values = iter(IOU)
    iou = [0.0 if name in ABSENT else next(values) / 100 for name in CITYSCAPES.names]
    return Scores(CITYSCAPES.names, tuple(iou), float(np.mean(iou)), 0.9, 500, "native", "whole")


def test_the_means_are_those_that_the_thesis_printed() -> None:
    means = protocol("synthia", CITYSCAPES.names)
    assert {name: len(classes) for name, classes in means.items()} == {"mIoU-16": 16, "mIoU-13": 13}
    found = [mean_over(thesis(), means[name]) for name in ("mIoU-13", "mIoU-16")]
    assert found == [pytest.approx(0.5481, abs=5e-5), pytest.approx(0.4834, abs=5e-4)]
    # Other sources and classes have one mean.
    for source, classes in (("gta5", CITYSCAPES), (None, CITYSCAPES), ("synthia", CAMVID)):
        assert protocol(source, classes.names) == {}
    # Classes without an IoU are left out.
    assert mean_over(STUDENT, STUDENT.classes[1:]) == 0.5
    assert mean_over(STUDENT, STUDENT.classes[2:]) is None


def test_the_table_has_the_columns_of_the_thesis() -> None:
    lines = paper_table({"teacher, last step": thesis()}, "synthia").splitlines()
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")]
    columns = "Road SW Build Wall* Fence* Pole* TL TS Veg Sky Person Rider Car Bus MC Bike"
    assert heads[1:] == [*columns.split(), "mIoU-19", "mIoU* (13)", "mIoU (16)"]
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert [float(cell) for cell in cells[1:17]] == IOU
    lines = paper_table({"a": thesis(), "b": thesis()}, "gta5").splitlines()
    assert lines[0].count("|") == lines[3].count("|") == 22
    assert "Terrain" in lines[0] and lines[0].endswith("Bike | mIoU |")


def test_names_are_text_and_nothing_else() -> None:
    name = "<img src=x>|*b*\x1b[2J\n_c_"
    table = paper_table({name: Scores((name,), (0.5,), 0.5, 0.5, 1, "native", "whole")}, None)
    head, _, row, _, _ = table.splitlines()
    for cell in (head, row):
        assert cell.replace("\\|", "").count("|") == 4
        assert "<" not in cell and "\x1b" not in cell and "\\*b\\*" in cell
    text = rendered({"[bold]net\x1b]0;title\x07": STUDENT}, title="run [link=x]\x1b[2J")
    escaped = (r"tree\x1b[31m", r"[bold]net\x1b]0;title\x07", r"run [link=x]\x1b[2J")
    assert all(name in text for name in ("[red]sky[/red]", *escaped)) and "\x1b[31m" not in text


def rendered(scores: dict[str, Scores], title: str | None = None) -> str:
    console = new_console()
    console.width = 160
    with console.capture() as capture:
        show(console, scores_table(scores, title))
    return " ".join(capture.get().replace("│", " ").split())


def test_networks_stand_side_by_side() -> None:
    teacher = replace(STUDENT, iou=(1.0, 0.0, 0.25), miou=0.41666, unlabeled=("road",))
    text = rendered({"student": STUDENT, "teacher": teacher})
    rows = ["road 98.77 100.00", "– 25.00", "mIoU (2 to 3 of 3 classes) 74.38 41.67"]  # noqa: RUF001
    rows += ["pixel accuracy 90.00 90.00", "7 images, resolution 512x1024, whole image, flip"]
    rows += ["student: mean over 2 of 3 classes", "teacher: no pixel of: road"]
    assert all(row in text for row in rows)
    # What all agree in is said once, and nothing where the mean is over all classes.
    text = rendered({"student": STUDENT, "teacher": STUDENT})
    assert text.count("mean over 2 of 3 classes") == 1
    assert " of 3 classes" not in rendered({"student": replace(STUDENT, iou=(0.5, 0.5, 0.5))})
    other = replace(STUDENT, resolution="native", mode="whole image")
    text = rendered({"student": STUDENT, "teacher": other})
    assert "student: %, 7 images, resolution 512x1024, whole image, flip" in text
    assert "teacher: %, 7 images, resolution native, whole image" in text
    with pytest.raises(ValueError, match="at least one"):
        scores_table({})
    with pytest.raises(ValueError, match="different classes"):
        scores_table({"a": STUDENT, "b": replace(STUDENT, classes=("x", "y", "z"))})
