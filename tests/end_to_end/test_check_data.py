"""tools/check_data.py on real files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.layouts import (
    SIZE,
    write_camvid,
    write_cityscapes,
    write_folder,
    write_image,
    write_label,
)
from tests.end_to_end.processes import Finished, Launcher, refuses_each, tree

CAMVID = ("--dataset", "camvid", "--data-root", "data")


@pytest.fixture
def camvid(tmp_path: Path) -> list[str]:
    """12 training and 4 validation pairs; returns the ids of the first."""
    write_camvid(tmp_path / "data", split="val")
    return write_camvid(tmp_path / "data", count=12)


def checked(launch: Launcher, *flags: object, code: int = 1) -> tuple[Finished, dict[str, Any]]:
    """What a check says, and the content of its file."""
    done = launch("check_data", *flags, "--json", "report.json")
    assert done.code == code and "Traceback" not in done.text, done.text
    return done, json.loads(Path("report.json").read_text())


def found(report: dict[str, Any]) -> dict[str, int]:
    return {kind: number for kind, number in report["counts"].items() if number}


def damage(root: Path, ids: list[str]) -> dict[str, list[Path]]:
    """Files of some kinds (``tests/data/test_check.py`` has the others); kind -> those to name."""
    images = [root / "train" / f"{one}.png" for one in ids]
    labels = [root / "trainannot" / f"{one}.png" for one in ids]
    images[1].write_bytes(images[1].read_bytes()[:-40])
    labels[2].write_text("[bold]no picture")
    labels[3].unlink()
    write_label(labels[5], np.full(SIZE, 200, dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(images[9]) as image:
        image.save(images[9], exif=exif)
    return {
        "missing partner": [images[3]],
        "undecodable": [images[1], labels[2]],
        "turned": [images[9]],
        "unknown ids": [labels[5]],
    }


def test_every_problem_is_found(camvid: list[str], launch: Launcher, tmp_path: Path) -> None:
    done, report = checked(launch, *CAMVID, "--workers", 0, code=0)
    assert found(report) == {}
    expected = damage(tmp_path / "data", camvid)
    done, report = checked(launch, *CAMVID, "--workers", 2)
    assert found(report) == {kind: len(paths) for kind, paths in expected.items()}
    problems = [problem for part in report["parts"] for problem in part["problems"]]
    for kind, paths in expected.items():
        named = {Path(one["path"]).name for one in problems if one["kind"] == kind}
        assert named == {path.name for path in paths}
        assert all(path.name in done.out for path in paths)
    assert "label id 200" in done.out and "EXIF orientation 3" in done.out
    parts = [(part["name"], part["images"]) for part in report["parts"]]
    assert parts == [("training", 12), ("validation", 4)]
    assert report["data"]["data.dataset"] == "camvid"
    # Few are named, and all are counted.
    before = tree(tmp_path)
    done = launch("check_data", *CAMVID, "--show", 1)
    assert "undecodable: 2" in done.out and "and 1 more" in done.out, done.text
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(camvid: list[str], launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "data/train" / f"{camvid[0]}.png").chmod(0)
    _, report = checked(launch, *CAMVID)
    assert found(report) == {"unreadable": 1}


def test_both_domains_and_images_from_elsewhere(
    camvid: list[str], launch: Launcher, tmp_path: Path
) -> None:
    """Of the target only images count; labels of the source are seen through the class map."""
    shutil.rmtree(tmp_path / "data/trainannot")
    write_cityscapes(tmp_path / "source")
    label = next(Path("source/gtFine").rglob("*_labelIds.png"))
    write_label(label, np.full(SIZE, 31, dtype=np.uint8))  # trains, which CamVid does not have
    (tmp_path / "uda.yaml").write_text("method: domain_adaptation\n")
    flags = ("--config", "uda.yaml", *CAMVID)
    flags += ("--source", "cityscapes", "--source-root", "source")
    _, report = checked(launch, *flags)
    assert [(part["name"], part["images"], part["labels"]) for part in report["parts"]] == [
        ("source", 5, 5),
        ("target", 12, 0),
        ("validation", 4, 4),
    ]
    (problem,) = report["parts"][0]["problems"]
    assert (problem["kind"], problem["path"]) == ("all void", str(label))

    write_image(tmp_path / "more/a.png")
    (tmp_path / "more/label.png").symlink_to(label.absolute())
    (tmp_path / "more/seen.png").symlink_to(next((tmp_path / "data/val").iterdir()))
    Image.new("I;16", (8, 8)).save(tmp_path / "more/b.png")
    done, report = checked(launch, *flags, "--unlabeled", "more")
    assert "unlabeled more: 2 images, 0 labels read" in done.out
    assert "note: 1 label files and 1 validation images in more left out" in done.out
    assert found(report) == {"all void": 1, "undecodable": 1} and "16 bits" in done.out


def test_refusals(tmp_path: Path) -> None:
    cases = {
        "--dataset camvit": "camvid",
        "--dataset camvid": "--data-root",
        "--dataset camvid --data-root data --json nowhere/a.json": "nowhere",
        "--dataset camvid --data-root data --show -1": "--show",
    }
    refuses_each("check-data", cases)


def test_nothing_is_said_or_read_twice(launch: Launcher, tmp_path: Path) -> None:
    """Without a validation split photographs are read; files of two parts are named once."""
    names = write_folder(tmp_path / "data", count=6)
    write_image(tmp_path / "photos/a.jpg")
    (tmp_path / f"data/labels/train/{names[2]}.png").unlink()
    own = ("--dataset", "folder", "--data-root", "data", "--unlabeled", "photos", "--workers", 0)
    for flags, problems, images in (
        ((), {"missing partner": 1, "not opened": 1}, [6, 1, 0]),
        (("--data.val_split", "train"), {"missing partner": 1}, [6, 1, 6]),
        (("--val", "2"), {"missing partner": 1}, [6, 1, 2]),
        (("--val", "2", "--skip-bad"), {}, [5, 1, 2]),
    ):
        done, report = checked(launch, *own, *flags, code=int(bool(problems)))
        assert found(report) == problems
        assert [part["images"] for part in report["parts"]] == images
        if problems:
            assert "looked for data/labels/train/**/*.png" in done.out
    assert [part["unpaired"] for part in report["parts"]] == [1, 0, 0]
    (tmp_path / "data/dataset.yaml").unlink()
    done, _ = checked(launch, *own)
    assert done.out.count("dataset.yaml is missing") == 1, done.text
