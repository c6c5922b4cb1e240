"""tools/dataset_stats.py on real files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.layouts import write_camvid
from tests.end_to_end.processes import Launcher, refuses_each

CAMVID = ("--dataset", "camvid", "--data-root", "data")


def test_counts_and_formats(launch: Launcher, tmp_path: Path) -> None:
    write_camvid(tmp_path / "data")
    labels = np.stack([np.array(Image.open(p)) for p in (tmp_path / "data/trainannot").iterdir()])
    for name in ("one.json", "one.csv", "one.md"):
        done = launch.ok("dataset_stats", *CAMVID, "--output", name)
    assert "12x20 (4)" in done.out
    content = json.loads((tmp_path / "one.json").read_text())
    assert content["corrupt"] == []
    assert content["void_share"] == pytest.approx((labels == 11).mean())
    counts = [one["pixels"] for one in content["classes"]]
    assert counts == [int((labels == one).sum()) for one in range(11)]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "one.csv").read_text())))
    assert sum(int(row["pixels"]) for row in rows) == labels.size
    before = (tmp_path / "one.md").read_text()
    assert before.count("\n| ") == 12 + 1
    (tmp_path / "two.md").write_text("mine")
    launch.ok("dataset_stats", *CAMVID, "--output", "two.md", "--overwrite")
    assert (tmp_path / "two.md").read_text() == before


def test_corrupt_files_are_named(launch: Launcher, tmp_path: Path) -> None:
    ids = write_camvid(tmp_path / "data", split="val")
    image = tmp_path / "data/val" / f"{ids[1]}.png"
    image.write_bytes(image.read_bytes()[:200])
    label = tmp_path / "data/valannot" / f"{ids[2]}.png"
    label.write_text("[bold]no picture")
    done = launch("dataset_stats", *CAMVID, "--split", "val", "--output", "a.json")
    assert done.code == 1 and "Traceback" not in done.text, done.text
    for path in (image, label):
        assert any(path.name in line for line in done.out.splitlines() if "corrupt" in line)
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["images"], content["labels"], len(content["corrupt"])) == (4, 3, 2)


def test_refusals(tmp_path: Path) -> None:
    write_camvid(tmp_path / "data")
    (tmp_path / "one.md").write_text("mine")
    cases = {
        "--dataset camvit --data-root data": "camvid",
        "--dataset camvid": "--data-root",
        "--output a.txt": ".csv .json .md",
        "--output nowhere/a.md": "nowhere",
        "--dataset camvid --data-root data --output one.md": "one.md --overwrite",
    }
    refuses_each("dataset-stats", cases)
    refuses_each("dataset-stats", {"--split night": "night"}, *CAMVID, code=1)
    assert (tmp_path / "one.md").read_text() == "mine"
