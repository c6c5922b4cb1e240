from __future__ import annotations

from dataclasses import replace

import pytest

from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.tables import scores_table
from mixseg.terminal import new_console, show

STUDENT = Scores(
    classes=("road", "[red]sky[/red]", "tree\x1b[31m"),
    iou=(0.98765, 0.5, None),
    miou=0.743825,
    pixel_accuracy=0.9,
    images=7,
    resolution="512x1024",
    mode="whole image, flip",
)


def rendered(scores: dict[str, Scores], title: str | None = None) -> str:
    console = new_console()
    console.width = 160
    with console.capture() as capture:
        show(console, scores_table(scores, title))
    return capture.get()


def test_networks_stand_side_by_side() -> None:
    teacher = replace(STUDENT, iou=(1.0, 0.0, 0.25), miou=0.41666)
    text = rendered({"student": STUDENT, "teacher": teacher})
    lines = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["road", "98.77", "100.00"] in lines
    assert ["mIoU", "(2", "to", "3", "of", "3", "classes)", "74.38", "41.67"] in lines
    assert "student: mean over 2 of 3 classes" in text and "teacher: mean" not in text
    assert ["pixel", "accuracy", "90.00", "90.00"] in lines
    assert any(line[-2:] == ["–", "25.00"] for line in lines)  # noqa: RUF001
    assert "7 images, resolution 512x1024, whole image, flip" in " ".join(text.split())


def test_a_mean_over_fewer_classes_says_so() -> None:
    unseen = replace(STUDENT, unlabeled=("tree\x1b[31m",))
    text = rendered({"student": unseen, "teacher": unseen})
    lines = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["mIoU", "(2", "of", "3", "classes)", "74.38", "74.38"] in lines
    assert " ".join(text.split()).count(r"mean over 2 of 3 classes; no pixel of: tree\x1b[31m") == 1
    whole = replace(STUDENT, iou=(0.5, 0.5, 0.5))
    assert " of 3 classes" not in rendered({"student": whole})


def test_different_conditions_are_told_apart() -> None:
    other = replace(STUDENT, resolution="native", mode="whole image")
    text = " ".join(rendered({"student": STUDENT, "teacher": other}).split())
    assert "student: %, 7 images, resolution 512x1024, whole image, flip" in text
    assert "teacher: %, 7 images, resolution native, whole image" in text


def test_names_are_text_and_nothing_else() -> None:
    text = rendered({"[bold]net\x1b]0;title\x07": STUDENT}, title="run [link=x]\x1b[2J")
    assert "[red]sky[/red]" in text
    assert r"tree\x1b[31m" in text
    assert r"[bold]net\x1b]0;title\x07" in text
    assert r"run [link=x]\x1b[2J" in text
    assert "\x1b[31m" not in text
    assert "\x1b]0" not in text
    assert "\x1b[2J" not in text


def test_what_does_not_fit_into_one_table() -> None:
    with pytest.raises(ValueError, match="at least one"):
        scores_table({})
    with pytest.raises(ValueError, match="different classes"):
        scores_table({"a": STUDENT, "b": replace(STUDENT, classes=("x", "y", "z"))})
