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
from tests.end_to_end.processes import Launcher, refused


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
    ("flags", "words"),
    [
        (("--dataset", "camvit", "--data-root", "data"), ("'camvit'", "camvid")),
        (("--dataset", "camvid"), ("--data-root",)),
        (("--data-root", "data"), ("--dataset",)),
        (("--output", "a.txt"), (".csv, .json, .md",)),
        (("--output", "nowhere/a.md"), ("nowhere",)),
        (("--dataset", "camvid", "--data-root", "data", "--split", "night"), ("night",)),
    ],
)
def test_refusals(
    flags: tuple[str, ...], words: tuple[str, ...], launch: Launcher, tmp_path: Path
) -> None:
    write_camvid(tmp_path / "data")
    done = launch("dataset_stats", *flags, cwd=tmp_path)
    refused(done, *words, code=1 if "night" in words else 2)
