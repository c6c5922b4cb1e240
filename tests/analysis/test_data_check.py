"""What check-data says of files that are whole, and may not be what was meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mixseg.analysis.data_check import inspect_data, report_lines
from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import Settings
from mixseg.data.check import PartReport
from mixseg.training.data import RunData
from tests.data.layouts import SIZE, cycle_ids, write_folder, write_image, write_label


def inspected(settings: Settings) -> list[PartReport]:
    return inspect_data(RunData(settings).parts(), Console(quiet=True), workers=0)


def test_classes_without_a_pixel_are_named(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_folder(tmp_path, split, description="names: [rest, vessel]\n")
        for path in (tmp_path / "labels" / split).rglob("*.png"):
            write_label(path, cycle_ids([0, 255]))
    one = next((tmp_path / "labels/val").rglob("*.png"))
    write_label(one, np.ones(SIZE, dtype=np.uint8))
    settings = resolve_settings([], {"data.dataset": "folder", "data.root": str(tmp_path)})
    training, validation = inspected(settings)
    assert not training.problems and not validation.notes
    assert "none of the 4 labels has a pixel of: vessel" in training.notes[0]
    lines = list(report_lines([training, validation], 10))
    assert [line for line in lines if line.startswith("note: ")] == [f"note: {training.notes[0]}"]


def test_pictures_of_other_kinds_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each folder, by check-data and at the start of training."""
    caplog.set_level("INFO", "mixseg")
    for split in ("train", "val"):
        write_folder(tmp_path, split)
    for name in ("train/a.bmp", "train/day 0/b.TIF", "train/c.tif", "train/.d.bmp", "train/e.txt"):
        (tmp_path / "images" / name).write_bytes(b"")
    photographs = tmp_path / "photographs"
    write_image(photographs / "1.jpg")
    write_image(photographs / "1.png")
    (photographs / "2.heic").write_bytes(b"")
    own = {"data.dataset": "folder", "data.root": str(tmp_path)}
    settings = resolve_settings([], own | {"data.unlabeled": str(photographs)})
    training, unlabeled, validation = inspected(settings)
    (note,) = training.notes
    assert "passed over 1 .bmp, 2 .tif" in note and str(tmp_path / "images/train/a.bmp") in note
    assert not validation.notes and unlabeled.images == 2
    assert caplog.text.count("passed over 1 .heic") == 1
    data = RunData(settings).training()
    passed_over = [line for line in data.notes if "passed over" in line]
    assert len(passed_over) == 2 and f"note: {note}" in passed_over
