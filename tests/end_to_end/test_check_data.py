"""tools/check_data.py on real files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.errors import ConfigError
from tests.data.layouts import (
    SIZE,
    write_camvid,
    write_cityscapes,
    write_folder,
    write_image,
    write_label,
)
from tests.end_to_end.processes import Launcher, refused_here, tree

CAMVID = ("--dataset", "camvid", "--data-root", "data")
KINDS = (
    "missing partner",
    "unreadable",
    "undecodable",
    "size mismatch",
    "turned",
    "unknown ids",
    "all void",
    "not opened",
)


@pytest.fixture
def camvid(tmp_path: Path) -> list[str]:
    """12 training and 4 validation pairs; returns the ids of the first."""
    write_camvid(tmp_path / "data", split="val")
    return write_camvid(tmp_path / "data", count=12)


def damage(root: Path, ids: list[str]) -> dict[str, list[Path]]:
    """One or two files of each kind; kind -> files that are to be named."""
    images, labels = root / "train", root / "trainannot"
    cut = images / f"{ids[1]}.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    text = labels / f"{ids[2]}.png"
    text.write_text("[bold]no picture")
    (labels / f"{ids[3]}.png").unlink()
    larger = labels / f"{ids[4]}.png"
    write_label(larger, np.zeros((SIZE[0], SIZE[1] + 1), dtype=np.uint8))
    unknown = labels / f"{ids[5]}.png"
    write_label(unknown, np.full(SIZE, 200, dtype=np.uint8))
    void = labels / f"{ids[6]}.png"
    write_label(void, np.full(SIZE, 11, dtype=np.uint8))
    gone = images / f"{ids[7]}.png"
    gone.unlink()
    gone.symlink_to("nowhere.png")
    turned = images / f"{ids[9]}.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(turned) as image:
        image.save(turned, exif=exif)
    # Two at once: image and label of one sample.
    both = (images / f"{ids[8]}.png", labels / f"{ids[8]}.png")
    for path in both:
        path.write_bytes(b"")
    return {
        "missing partner": [images / f"{ids[3]}.png"],
        "unreadable": [gone],
        "undecodable": [cut, text, *both],
        "size mismatch": [larger],
        "turned": [turned],
        "unknown ids": [unknown],
        "all void": [void],
        "not opened": [],
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_every_problem_is_found(
    workers: int, camvid: list[str], launch: Launcher, tmp_path: Path
) -> None:
    expected = damage(tmp_path / "data", camvid)
    done = launch(
        "check_data", *CAMVID, "--workers", workers, "--json", "report.json", cwd=tmp_path
    )
    assert done.code == 1, done.text
    assert "Traceback" not in done.text
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {kind: len(expected[kind]) for kind in KINDS}
    problems = [problem for part in report["parts"] for problem in part["problems"]]
    for kind, paths in expected.items():
        found = {Path(one["path"]).name for one in problems if one["kind"] == kind}
        assert found == {path.name for path in paths}
        assert all(path.name in done.out for path in paths)
    assert "label id 200" in done.out
    assert "EXIF orientation 3" in done.out and "store both upright" in done.out
    assert [(part["name"], part["images"]) for part in report["parts"]] == [
        ("training", 12),
        ("validation", 4),
    ]
    assert report["data"]["data.dataset"] == "camvid"
    # Few are named, and all are counted.
    done = launch("check_data", *CAMVID, "--show", 1, cwd=tmp_path)
    assert "undecodable: 4" in done.out and "and 3 more" in done.out, done.text


def test_whole_files_are_no_problem(camvid: list[str], launch: Launcher, tmp_path: Path) -> None:
    before = tree(tmp_path)
    done = launch("check_data", *CAMVID, cwd=tmp_path)
    assert done.code == 0, done.text
    assert "no problem found" in done.out
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(camvid: list[str], launch: Launcher, tmp_path: Path) -> None:
    path = tmp_path / "data" / "train" / f"{camvid[0]}.png"
    path.chmod(0)
    done = launch("check_data", *CAMVID, cwd=tmp_path)
    assert done.code == 1, done.text
    assert "unreadable: 1" in done.out


def test_both_domains_and_images_from_elsewhere(
    camvid: list[str], launch: Launcher, tmp_path: Path
) -> None:
    """Of the target only images count; labels of the source are seen through the class map."""
    shutil.rmtree(tmp_path / "data" / "trainannot")
    write_cityscapes(tmp_path / "source")
    label = next((tmp_path / "source" / "gtFine").rglob("*_labelIds.png"))
    write_label(label, np.full(SIZE, 31, dtype=np.uint8))  # trains, which CamVid does not have
    flags = (*CAMVID, "--source", "cityscapes", "--source-root", "source")
    config = tmp_path / "uda.yaml"
    config.write_text("method: domain_adaptation\n")
    done = launch("check_data", "--config", config, *flags, "--json", "a.json", cwd=tmp_path)
    assert done.code == 1, done.text
    report = json.loads((tmp_path / "a.json").read_text())
    assert [(part["name"], part["images"], part["labels"]) for part in report["parts"]] == [
        ("source", 5, 5),
        ("target", 12, 0),
        ("validation", 4, 4),
    ]
    (problem,) = report["parts"][0]["problems"]
    assert (problem["kind"], problem["path"]) == (
        "all void",
        str(Path("source") / label.relative_to(tmp_path / "source")),
    )

    write_image(tmp_path / "more" / "a.png")
    (tmp_path / "more" / "label.png").symlink_to(label)
    (tmp_path / "more" / "seen.png").symlink_to(next((tmp_path / "data" / "val").iterdir()))
    Image.new("I;16", (8, 8)).save(tmp_path / "more" / "b.png")
    done = launch("check_data", "--config", config, *flags, "--unlabeled", "more", cwd=tmp_path)
    assert done.code == 1, done.text
    assert "unlabeled more: 2 images, 0 labels read" in done.out
    assert "note: 1 label files and 1 validation images in more left out" in done.out
    assert "undecodable: 1" in done.out
    assert "16 bits or more" in done.out


def test_what_cannot_be_opened_hides_nothing_else(
    camvid: list[str], launch: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("../x.png\n")
    (tmp_path / "data" / "val" / "broken.png").write_bytes(b"")
    done = launch("check_data", *CAMVID, "--labeled", "list.txt", cwd=tmp_path)
    assert done.code == 1, done.text
    assert "not opened: 1" in done.out
    assert "escapes the root" in done.out
    assert "undecodable: 1" in done.out
    assert "missing partner: 1" in done.out


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for flags, word in (
        (("--dataset", "camvit"), "camvid"),
        (("--dataset", "camvid"), "--data-root"),
        ((*CAMVID, "--json", "nowhere/a.json"), "nowhere"),
        ((*CAMVID, "--show", "-1"), "--show"),
    ):
        refused_here("check-data", *flags, error=ConfigError, match=word)
    assert tree(tmp_path) == []


def test_nothing_is_said_or_read_twice(launch: Launcher, tmp_path: Path) -> None:
    """Without a validation split photographs are read; files of two parts are named once."""
    names = write_folder(tmp_path / "data", count=6)
    write_image(tmp_path / "photos/a.jpg")
    (tmp_path / f"data/labels/train/{names[2]}.png").unlink()
    own = ("--dataset", "folder", "--data-root", "data", "--unlabeled", "photos", "--workers", 0)
    expected = {
        (): ({"missing partner": 1, "not opened": 1}, [6, 1, 0]),
        ("--data.val_split", "train"): ({"missing partner": 1}, [6, 1, 6]),
        ("--val", "2"): ({"missing partner": 1}, [6, 1, 2]),
        ("--val", "2", "--skip-bad"): ({}, [5, 1, 2]),
    }
    for flags, (problems, images) in expected.items():
        done = launch("check_data", *own, *flags, "--json", "a.json", cwd=tmp_path)
        assert done.code == bool(problems), done.text
        report = json.loads((tmp_path / "a.json").read_text())
        assert {kind: n for kind, n in report["counts"].items() if n} == problems
        assert [part["images"] for part in report["parts"]] == images
        if "missing partner" in problems:
            assert "looked for data/labels/train/**/*.png" in done.out
    assert [part["unpaired"] for part in report["parts"]] == [1, 0, 0]
    (tmp_path / "data/dataset.yaml").unlink()
    done = launch("check_data", *own, cwd=tmp_path)
    assert done.code == 1 and done.out.count("dataset.yaml is missing") == 1, done.text
