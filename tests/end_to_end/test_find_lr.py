"""The learning-rate finder as a user starts it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from tests.end_to_end.processes import Launcher, refuses_each


def test_a_curve_and_a_suggestion(launch: Launcher, config: Path, tmp_path: Path) -> None:
    flags = ("--low", "1e-5", "--high", "1", "--steps", 12, "--output", "out", "--name", "lr")
    done = launch.ok("find_lr", "--config", config, *flags)
    with (tmp_path / "out/lr/learning_rate.csv").open() as file:
        rates = [float(row["rate"]) for row in csv.DictReader(file)]
    assert 10 <= len(rates) <= 12
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-5)
    suggested = float(done.out.split("suggested learning rate: ")[1].split()[0])
    assert rates[0] * 0.95 <= suggested <= rates[-1]
    with Image.open(tmp_path / "out/lr/learning_rate.png") as image:
        assert image.format == "PNG"


def test_refused(config: Path, tmp_path: Path) -> None:
    (tmp_path / "out/lr").mkdir(parents=True)
    (tmp_path / "out/lr/learning_rate.csv").write_text("mine")
    cases = {
        "--low 1 --high 0.1": "low high",
        "--steps 3": "--steps",
        "--steps 12 --output out --name lr": "out/lr",
    }
    refuses_each("find-lr", cases, "--config", config)
