"""The chart of the pseudo-labels."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.charts import pseudo_label_chart

PALETTE = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def chart(path: Path, names: list[str], shares: list[list[float]], noise: str = "") -> np.ndarray:
    keys = [f"pseudo-labels/{name}" for name in names]
    lines = [
        json.dumps({"step": 10 * number, **dict(zip(keys, row, strict=True))})
        for number, row in enumerate(shares, start=1)
    ]
    path.write_text("\n".join([json.dumps({"step": 5, "loss": 1.0}), noise, *lines]))
    content = pseudo_label_chart(path, names, PALETTE)
    assert content is not None
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def areas(picture: np.ndarray) -> list[float]:
    counts = [int((np.abs(picture.astype(int) - color) < 6).all(-1).sum()) for color in PALETTE]
    return [count / sum(counts) for count in counts]


def test_areas_are_the_shares(tmp_path: Path) -> None:
    picture = chart(tmp_path / "m.jsonl", ["a", "b", "c"], [[0.6, 0.3, 0.1]] * 4)
    assert areas(picture) == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    # A class that vanishes: a triangle.
    picture = chart(tmp_path / "m.jsonl", ["a", "b", "c"], [[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    assert areas(picture) == pytest.approx([0.75, 0.0, 0.25], abs=0.02)


def test_names_and_logs_that_cannot_be_drawn_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for name in ("$x_1$", "_hidden", "\x1b[2J", "$", "a\nb", ""):
        chart(path, [name, "b", "c"], [[0.6, 0.3, 0.1]] * 2)
    chart(path, ["a", "b", "c"], [[0.6, 0.3, 0.1]] * 2, noise='{"step": 1, "ps')
    path.write_text('{"step": 1, "loss": 0.5}\n')
    assert pseudo_label_chart(path, ["a"], PALETTE[:1]) is None
