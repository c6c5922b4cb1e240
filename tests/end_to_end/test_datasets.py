"""Every layout trains for two steps from the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mixseg.config.resolve import resolve_settings
from tests.data import layouts
from tests.end_to_end.processes import RUN, Launcher, refuses, refuses_each, tree

SMALL = (
    *(*RUN, "--iterations", 2, "--backbone", "test_resnet", "--weights", "none", "--workers", 0),
    *("--labeled", 1, "--set", "model.output_stride=16", "model.rates=[1, 2]"),
    *("model.batch_norm=train", "data.batch_labeled=2", "data.batch_unlabeled=2"),
    *("validation.every=0", "data.resize=[32, 64]", "data.scale=null", "data.crop=null"),
)
FOLDER = ("--dataset", "folder", "--data-root", "data")


def demo(root: Path, launch: Launcher, layout: str) -> None:
    size = ("--images", 3, "--val-images", 1, "--size", "48x96", "--look", "render")
    done = launch.ok("make_demo", "--out", root, *size, "--layout", layout)
    assert f"--dataset {layout} --data-root {root}" in done.out


def write(layout: str, root: Path, launch: Launcher) -> None:
    if layout in ("cityscapes", "bdd100k"):
        demo(root, launch, layout)
    elif layout == "voc":
        names = [*layouts.VOC_TRAIN, *layouts.SBD_EXTRA]
        more = "".join(f"{name}\n" for name in names)
        layouts.write_voc(root / "VOC2012", augmented=True, augmented_list=more)
    else:
        layouts.write_folder(root, "train")
        layouts.write_folder(root, "val", count=2)


@pytest.mark.parametrize(
    ("layout", "classes"), [("cityscapes", 19), ("bdd100k", 19), ("voc", 21), ("folder", 3)]
)
def test_training_and_evaluation(
    layout: str, classes: int, launch: Launcher, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    write(layout, root, launch)
    before = tree(root)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"data": {"dataset": "folder"}}))
    # A folder has no preset, as its data may be anything.
    preset = ("--config", "own.yaml") if layout == "folder" else ()
    done = launch.ok("train_ssl", *preset, "--dataset", layout, "--data-root", root, *SMALL)
    run = tmp_path / "out/run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["step"] == 2 and "1 labeled" in done.out
    assert len(summary["last"]["teacher"]["iou"]) == classes
    launch.ok("evaluate", run, "--network", "teacher", "--json", "s.json")
    found = json.loads((tmp_path / "s.json").read_text())["scores"]
    assert found["teacher"] == summary["last"]["teacher"]
    assert tree(root) == before


def test_the_test_split(launch: Launcher, tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 1), ("test", 2)):
        layouts.write_camvid(tmp_path / "camvid", split, count=count)
    own = (*SMALL, "data.val_split=test", "--dataset")
    launch.ok("train_ssl", *own, "camvid", "--data-root", "camvid")
    last = json.loads((tmp_path / "out/run/summary.json").read_text())["last"]
    for split, same in (("test", True), ("val", False)):
        launch.ok("evaluate", "out/run", "--split", split, "--json", "s.json")
        found = json.loads((tmp_path / "s.json").read_text())
        assert found["split"] == split
        assert (found["scores"] == last) == same
    # Where its labels are not public, it is none to validate on.
    demo(tmp_path / "bdd100k", launch, "bdd100k")
    layouts.write_bdd100k(tmp_path / "bdd100k", "test", count=2, labels=False)
    own = (*own, "bdd100k", "--data-root", "bdd100k", "--name", "other")
    refuses("ssl", *own, words=["data.val_split", "bdd100k", "no labels"], code=1)


@pytest.mark.slow
def test_labels_that_teach_nothing(launch: Launcher, tmp_path: Path) -> None:
    """All-void labels among others, and a class without a pixel, are said and end nothing."""
    for split in ("train", "val"):
        layouts.write_folder(tmp_path / "data", split, description="names: [rest, vessel]\n")
        for path in (tmp_path / "data/labels" / split).rglob("*.png"):
            layouts.write_label(path, layouts.cycle_ids([0, 0, 255]))
    void = sorted((tmp_path / "data/labels/train").rglob("*.png"))[1]
    layouts.write_label(void, np.full(layouts.SIZE, 255, dtype=np.uint8))
    longer = ("training.log_every=2", "--iterations", 6, "--labeled", "full")
    done = launch.ok("train_supervised", *FOLDER, *SMALL, *longer)
    text = " ".join(done.out.split())
    assert text.count(f"{void.name} holds nothing but ignored pixels") == 1
    assert "none of the 4 labels has a pixel of: vessel" in text
    last = json.loads((tmp_path / "out/run/summary.json").read_text())["last"]["student"]
    assert last["unlabeled"] == ["vessel"] and "no pixel of: vessel" in text


def test_a_folder_without_validation_images(launch: Launcher, tmp_path: Path) -> None:
    layouts.write_folder(tmp_path / "data", "train")
    words = ("'val'", "train", "--val 1/5", "data/labels/val", "--data.val_split train")
    refuses("supervised", *FOLDER, *SMALL, words=words, code=1)
    done = launch("check_data", *FOLDER)
    assert done.code == 1 and all(word in done.out for word in words), done.text
    launch.ok("train_supervised", *FOLDER, *SMALL, "data.val_split=train")


def test_images_that_are_held_out(launch: Launcher, tmp_path: Path) -> None:
    """A run keeps them, whatever becomes of its data, and hands them to a student."""
    layouts.write_folder(tmp_path / "data", "train", count=10)
    done = launch.ok("train_ssl", *FOLDER, "--val", "3/10", *SMALL, "training.precision=fp32")
    assert "3 of 10 labeled images" in done.out
    run = tmp_path / "out/run"
    ids = [(run / f"{name}.txt").read_text().split("\n")[:-1] for name in ("labeled", "unlabeled")]
    ids.append((run / "val.txt").read_text().split("\n")[:-1])
    assert list(map(len, ids)) == [1, 6, 3]
    assert len(set().union(*ids)) == 10
    last = json.loads((run / "summary.json").read_text())["last"]

    for folder in ("images", "labels"):
        first = min((tmp_path / f"data/{folder}/train").rglob("*.png"))
        for name in ("00", "z"):
            shutil.copy(first, first.with_name(f"{name}.png"))
    launch.ok("evaluate", "out/run", "--precision", "fp32", "--json", "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["scores"] == last
    longer = ("--resume", "out/run", "--iterations", 3, "--allow-changes")
    refuses("ssl", *longer, words=["--val out/run/val.txt"], code=1)
    lists = ("--labeled", "out/run/labeled.txt,out/run/unlabeled.txt", "--val", "out/run/val.txt")
    launch.ok("train_ssl", *longer, *lists)


def test_labels_and_validation_images_are_no_unlabeled_ones(
    launch: Launcher, tmp_path: Path
) -> None:
    """``--unlabeled`` may be the data's own folder, by whatever name it goes."""
    data = tmp_path / "data"
    for split, count in (("train", 4), ("val", 2), ("test", 2), ("more", 4)):
        layouts.write_folder(data, split, count=count, labels=split != "more")
    (data / "images/train/day 1/frame.1.JPG").unlink()  # its label is there still
    (tmp_path / "link").symlink_to("data")
    own = (*FOLDER, "--unlabeled")
    note = "note: 8 label files and 2 validation images in "
    assert note in launch.ok("train_ssl", *own, "link", *SMALL).out
    used = (tmp_path / "out/run/unlabeled.txt").read_text().splitlines()
    folders = {line.split("/day")[0] for line in used}
    assert folders == {"images/more", "images/test", "images/train"} and len(used) == 9
    done = launch.ok("check_data", *own, "link")
    assert note in done.out and "unlabeled link: 9 images" in done.out
    # Who validates on training images keeps nothing apart.
    done = launch.ok("check_data", *own, "link", "--data.val_split", "train")
    assert "note: 8 label files in link" in done.out
    more = ("data/labels", *SMALL, "--name", "other")
    refuses("ssl", *own, *more, words=["data/labels", "8 label files"], code=1)


def test_unlabeled_images_from_anywhere(launch: Launcher, config: Path, tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    for number, size in enumerate([(64, 128), (48, 96), (200, 110)]):
        layouts.write_image(photographs / f"day {number}/x.png", number, size)
    own = ("--config", config, "--labeled", "full", "--unlabeled", "photographs", "--output", "out")
    words = ("64x128 (day 0/x)", "48x96", "data.crop")
    refuses("ssl", *own, "--name", "run", words=words, code=1)
    assert not (tmp_path / "out").exists()
    # Images of another scale are told of, unless they are resized.
    for path in photographs.rglob("*.png"):
        layouts.write_image(path, size=(200, 110))
    crop = ("--data.crop", "[64, 64]", "--iterations", 1)
    done = launch.ok("train_ssl", *own, *crop)
    assert ": 12 labeled images" in done.out and ": 3 unlabeled images" in done.out
    assert re.search(r"images has 64 pixels, that of unlabel+ed ones 110 \(median\)", done.out)
    done = launch.ok("train_ssl", *own, *crop, "--data.resize", "[64, 128]")
    assert "at other scales" not in done.out


def test_make_demo(launch: Launcher, tmp_path: Path) -> None:
    small = ("--images", 2, "--size", "32x64", "--seed", 3)
    launch.ok("make_demo", "--out", "demo", *small)
    sizes = [Image.open(path).size for path in (tmp_path / "demo/leftImg8bit").rglob("*.png")]
    assert sizes == 3 * [(64, 32)]
    refuses("make-demo", "--out", "demo", *small, words=["demo"], code=1)
    cases = {"--size big": "--size", "--seed -1": "--seed"}
    refuses_each("make-demo", cases, "--out", "b")
    # A source is a rendering unless something else is asked for.
    for name, more in {"a": (), "c": ("--look", "render"), "d": ("--look", "camera")}.items():
        arguments = ("--out", name, "--images", 1, "--size", "32x64", "--layout", "gta5", *more)
        launch.ok("make_demo", *arguments)
    first, same, other = ((tmp_path / name / "images/00001.png").read_bytes() for name in "acd")
    assert first == same != other


def test_supervised(launch: Launcher, config: Path, tmp_path: Path) -> None:
    """Whatever method a file names."""
    (tmp_path / "method.yaml").write_text("method: semi_supervised\n")
    launch.ok("train_supervised", "--config", config, "method.yaml", "--dataset", "demo", *SMALL)
    run = tmp_path / "out/run"
    assert resolve_settings([run / "config.yaml"], {}).method == "supervised"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["effective_batch"] == {"labeled": 2}
