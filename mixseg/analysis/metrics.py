"""What a run logged, read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixseg.files import read_text

Line = dict[str, Any]
"""A line of ``metrics.jsonl``: the step and what was measured there."""


def read_metrics(path: Path) -> list[Line]:
    """The lines of ``metrics.jsonl`` that are whole.

    A log that a crash damaged is no reason to go without the rest of it.
    """
    lines = []
    for text in read_text(path, errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def series(lines: Sequence[Line], key: str) -> tuple[list[int], list[float]]:
    """The steps at which something was logged, and its values."""
    found = [
        (line["step"], float(line[key]))
        for line in lines
        if isinstance(line.get(key), int | float) and isinstance(line.get("step"), int)
    ]
    return [step for step, _ in found], [value for _, value in found]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and of the ``window - 1`` before it, as far as there are so many."""
    return [
        sum(values[max(0, end - window) : end]) / min(end, window)
        for end in range(1, len(values) + 1)
    ]
