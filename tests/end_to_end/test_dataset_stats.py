"""tools/dataset_stats.py on real files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.errors import ConfigError, DataError
from tests.data.layouts import write_camvid
from tests.end_to_end.processes import Launcher, refused, refused_here


def test_counts_and_formats(launch: Launcher, tmp_path: Path) -> None:
    write_camvid(tmp_path / "data")
    flags = ("--dataset", "camvid", "--data-root", "data")
    labels = np.stack([np.array(Image.open(p)) for p in (tmp_path / "data/trainannot").iterdir()])
    for name in ("one.json", "one.csv", "one.md"):
        done = launch("dataset_stats", *flags, "--output", name, cwd=tmp_path)
        assert done.code == 0, done.text
    assert "12x20 (4)" in done.out
    content = json.loads((tmp_path / "one.json").read_text())
    assert content["corrupt"] == []
    assert content["void_share"] == pytest.approx((labels == 11).mean())
    counts = {one["name"]: one["pixels"] for one in content["classes"]}
    assert list(counts.values()) == [int((labels == one).sum()) for one in range(11)]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "one.csv").read_text())))
    assert sum(int(row["pixels"]) for row in rows) == labels.size
    assert (tmp_path / "one.md").read_text().count("\n| ") == 12 + 1
    before = (tmp_path / "one.md").read_text()
    again = launch("dataset_stats", *flags, "--output", "one.md", cwd=tmp_path)
    refused(again, "one.md", "--overwrite")
    done = launch("dataset_stats", *flags, "--output", "one.md", "--overwrite", cwd=tmp_path)
    assert done.code == 0, done.text
    assert (tmp_path / "one.md").read_text() == before


def test_corrupt_files_are_named(launch: Launcher, tmp_path: Path) -> None:
    ids = write_camvid(tmp_path / "data", split="val")
    image = tmp_path / "data" / "val" / f"{ids[1]}.png"
    image.write_bytes(image.read_bytes()[:200])
    label = tmp_path / "data" / "valannot" / f"{ids[2]}.png"
    label.write_text("[bold]no picture")
    done = launch(
        "dataset_stats",
        *("--dataset", "camvid", "--data-root", "data", "--split", "val", "--output", "a.json"),
        cwd=tmp_path,
    )
    assert done.code == 1, done.text
    assert "Traceback" not in done.text
    for path in (image, label):
        assert any(path.name in line for line in done.out.splitlines() if "corrupt" in line)
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["images"], content["labels"], len(content["corrupt"])) == (4, 3, 2)


@pytest.mark.parametrize(
    ("flags", "error", "word"),
    [
        ("--dataset camvit --data-root data", ConfigError, "camvid"),
        ("--dataset camvid", ConfigError, "--data-root"),
        ("--data-root data", ConfigError, "--dataset"),
        ("--output a.txt", ConfigError, ".csv, .json, .md"),
        ("--output nowhere/a.md", ConfigError, "nowhere"),
        ("--dataset camvid --data-root data --split night", DataError, "night"),
    ],
)
def test_refusals(
    flags: str, error: type[Exception], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_camvid(tmp_path / "data")
    refused_here("dataset-stats", *flags.split(), error=error, match=word)
