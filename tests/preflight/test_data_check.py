"""What check-data says of files that are whole, and may not be what was meant."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from mixseg.config import resolve_settings
from mixseg.preflight.data_check import inspect_data, report_lines
from tests.data.layouts import SIZE, cycle_ids, write_folder, write_label


def test_classes_without_a_pixel_are_named(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_folder(tmp_path, split, description="names: [rest, vessel]\n")
        for path in (tmp_path / "labels" / split).rglob("*.png"):
            write_label(path, cycle_ids([0, 255]))
    one = next((tmp_path / "labels/val").rglob("*.png"))
    write_label(one, np.ones(SIZE, dtype=np.uint8))
    settings = resolve_settings([], {"data.dataset": "folder", "data.root": str(tmp_path)})
    training, validation = inspect_data(settings, Console(file=io.StringIO()), workers=0)
    assert not training.problems and not validation.notes
    assert "none of the 4 labels has a pixel of: vessel" in training.notes[0]
    lines = list(report_lines([training, validation], 10))
    assert [line for line in lines if line.startswith("note: ")] == [f"note: {training.notes[0]}"]
