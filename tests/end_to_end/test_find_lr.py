"""The learning-rate finder as a user starts it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from tests.end_to_end.processes import Launcher, refused


@pytest.mark.parametrize("method", ["supervised", "semi_supervised"])
def test_a_curve_and_a_suggestion(
    method: str, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    flags = ("--low", "1e-5", "--high", "1", "--steps", 12, "--output", "out", "--name", "lr")
    done = launch("find_lr", "--config", config, "--method", method, *flags, cwd=tmp_path)
    assert done.code == 0, done.text
    with (tmp_path / "out" / "lr" / "learning_rate.csv").open() as file:
        rows = list(csv.DictReader(file))
    rates = [float(row["rate"]) for row in rows]
    assert 10 <= len(rates) <= 12
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-5)
    suggested = float(done.out.split("suggested learning rate: ")[1].split()[0])
    assert rates[0] * 0.95 <= suggested <= rates[-1]
    with Image.open(tmp_path / "out" / "lr" / "learning_rate.png") as image:
        assert image.format == "PNG"
    again = launch("find_lr", "--config", config, *flags, cwd=tmp_path)
    assert again.code != 0
    assert "out/lr" in again.err


def test_refused(launch: Launcher, config: Path, tmp_path: Path) -> None:
    start = ("find_lr", "--config", config)
    refused(launch(*start, "--low", 1, "--high", "0.1", cwd=tmp_path), "low < high")
    refused(launch(*start, "--steps", 3, cwd=tmp_path), "--steps: expected a whole number from 10")
    assert not list(tmp_path.iterdir())
