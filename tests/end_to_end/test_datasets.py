"""Every layout trains for two steps from the command line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mixseg.config.resolve import resolve_settings
from tests.data import layouts
from tests.end_to_end.processes import Launcher, refused, refused_saying, tree

SMALL = (
    *("--iterations", 2, "--output", "out", "--name", "run", "--backbone", "test_resnet"),
    *("--weights", "none", "--workers", 0, "--labeled", 1),
    *("--set", "model.output_stride=16", "model.rates=[1, 2]", "model.batch_norm=train"),
    *("data.batch_labeled=2", "data.batch_unlabeled=2", "validation.every=0"),
    *("data.resize=[32, 64]", "data.scale=null", "data.crop=null"),
)


def demo(root: Path, launch: Launcher) -> None:
    done = launch.ok(
        "make_demo",
        *("--out", root, "--images", 3, "--val-images", 1, "--size", "48x96", "--look", "render"),
        cwd=root.parent,
    )
    assert f"--dataset cityscapes --data-root {root}" in done.out


def camvid(root: Path) -> None:
    layouts.write_camvid(root, "train")
    layouts.write_camvid(root, "val", count=1)
    layouts.write_camvid(root, "test", count=2)


def bdd100k(root: Path, launch: Launcher) -> None:
    arguments = ("--out", root, "--images", 3, "--val-images", 1, "--size", "48x96")
    done = launch.ok("make_demo", *arguments, "--layout", "bdd100k", cwd=root.parent)
    assert f"--dataset bdd100k --data-root {root}" in done.out
    layouts.write_bdd100k(root, "test", count=2, labels=False)


def voc(root: Path) -> None:
    names = [*layouts.VOC_TRAIN, *layouts.SBD_EXTRA]
    layouts.write_voc(
        root / "VOC2012", augmented=True, augmented_list="".join(f"{name}\n" for name in names)
    )


def folder(root: Path) -> None:
    layouts.write_folder(root, "train")
    layouts.write_folder(root, "val", count=2)


LAYOUTS: dict[str, tuple[str, Callable[[Path, Launcher], None], int]] = {
    "demo": ("cityscapes", demo, 19),
    "bdd100k": ("bdd100k", bdd100k, 19),
    "voc": ("voc", voc, 21),
    "folder": ("folder", folder, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_and_evaluation(layout: str, launch: Launcher, tmp_path: Path) -> None:
    name, write, classes = LAYOUTS[layout]
    root = tmp_path / "data"
    write(root, launch)
    before = tree(root)
    preset = ()
    if name == "folder":  # has no preset, as its data may be anything
        (tmp_path / "own.yaml").write_text(yaml.safe_dump({"data": {"dataset": "folder"}}))
        preset = ("--config", "own.yaml")
    done = launch.ok("train_ssl", *preset, "--dataset", name, "--data-root", root, *SMALL)
    run = tmp_path / "out" / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["step"] == 2
    assert "1 labeled" in done.out
    assert len(summary["last"]["teacher"]["iou"]) == classes
    launch.ok("evaluate", run, "--network", "teacher", "--json", "s.json")
    found = json.loads((tmp_path / "s.json").read_text())["scores"]
    assert found["teacher"] == summary["last"]["teacher"]
    assert tree(root) == before


def test_the_test_split(launch: Launcher, tmp_path: Path) -> None:
    camvid(tmp_path / "camvid", launch)
    bdd100k(tmp_path / "bdd100k", launch)
    own = (*SMALL, "data.val_split=test", "--dataset")
    launch.ok("train_ssl", *own, "camvid", "--data-root", "camvid")
    last = json.loads((tmp_path / "out/run/summary.json").read_text())["last"]
    for split, same in (("test", True), ("val", False)):
        arguments = ("out/run", "--split", split, "--json", "s.json")
        launch.ok("evaluate", *arguments)
        found = json.loads((tmp_path / "s.json").read_text())
        assert found["split"] == split
        assert (found["scores"] == last) == same
    # Where its labels are not public, it is none to validate on.
    own = (*own, "bdd100k", "--data-root", "bdd100k", "--name", "other")
    refused_saying("ssl", *own, words=["data.val_split", "bdd100k", "no labels"], code=1)


@pytest.mark.slow
def test_labels_that_teach_nothing(launch: Launcher, tmp_path: Path) -> None:
    """All-void labels among others, and a class without a pixel, are said and end nothing."""
    for split in ("train", "val"):
        layouts.write_folder(tmp_path / "data", split, description="names: [rest, vessel]\n")
        for path in (tmp_path / "data/labels" / split).rglob("*.png"):
            layouts.write_label(path, layouts.cycle_ids([0, 0, 255]))
    void = sorted((tmp_path / "data/labels/train").rglob("*.png"))[1]
    layouts.write_label(void, np.full(layouts.SIZE, 255, dtype=np.uint8))
    own = ("--dataset", "folder", "--data-root", "data")
    flags = list(SMALL)
    flags[flags.index("--iterations") + 1] = 6
    flags[flags.index("--labeled") + 1] = "full"
    done = launch.ok("train_supervised", *own, *flags, "training.log_every=2")
    text = " ".join(done.out.split())
    assert text.count(f"{void.name} holds nothing but ignored pixels") == 1
    assert "none of the 4 labels has a pixel of: vessel" in text
    last = json.loads((tmp_path / "out/run/summary.json").read_text())["last"]["student"]
    assert last["unlabeled"] == ["vessel"] and "no pixel of: vessel" in text


def test_a_folder_without_validation_images(launch: Launcher, tmp_path: Path) -> None:
    layouts.write_folder(tmp_path / "data", "train")
    own = ("--dataset", "folder", "--data-root", "data")
    words = ("'val'", "train", "--val 1/5", "data/labels/val", "--data.val_split train")
    refused_saying("supervised", *own, *SMALL, words=words, code=1)
    done = launch("check_data", *own)
    assert done.code == 1 and all(word in done.out for word in words), done.text
    launch.ok("train_supervised", *own, *SMALL, "data.val_split=train")


def test_images_that_are_held_out(launch: Launcher, tmp_path: Path) -> None:
    """A run keeps them, whatever becomes of its data, and hands them to a student."""
    layouts.write_folder(tmp_path / "data", "train", count=10)
    data = ("--dataset", "folder", "--data-root", "data", "--val", "3/10")
    done = launch.ok("train_ssl", *data, *SMALL, "training.precision=fp32")
    assert "3 of 10 labeled images" in done.out
    run = tmp_path / "out/run"
    ids = {
        name: (run / f"{name}.txt").read_text().splitlines()
        for name in ("labeled", "unlabeled", "val")
    }
    assert list(map(len, ids.values())) == [1, 6, 3]
    assert len(set().union(*ids.values())) == 10
    last = json.loads((run / "summary.json").read_text())["last"]

    for name in ("00", "z"):
        for folder, ending in (("images", ".png"), ("labels", ".png")):
            first = min((tmp_path / f"data/{folder}/train").rglob(f"*{ending}"))
            shutil.copy(first, first.with_name(f"{name}{ending}"))
    fp32 = ("--precision", "fp32")
    launch.ok("evaluate", "out/run", *fp32, "--json", "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["scores"] == last
    longer = ("--resume", "out/run", "--iterations", 3, "--allow-changes")
    refused(launch("train_ssl", *longer), "--val out/run/val.txt", code=1)
    lists = ("--labeled", "out/run/labeled.txt,out/run/unlabeled.txt", "--val", "out/run/val.txt")
    launch.ok("train_ssl", *longer, *lists)


def test_labels_and_validation_images_are_no_unlabeled_ones(
    launch: Launcher, tmp_path: Path
) -> None:
    """``--unlabeled`` may be the data's own folder, by whatever name it goes."""
    data = tmp_path / "data"
    for split, count, labels in (
        ("train", 4, True),
        ("val", 2, True),
        ("test", 2, True),
        ("more", 4, False),
    ):
        layouts.write_folder(data, split, count=count, labels=labels)
    (data / "images/train/day 1/frame.1.JPG").unlink()  # its label is there still
    (tmp_path / "link").symlink_to("data")
    own = ("--dataset", "folder", "--data-root", "data", "--unlabeled")
    note = "note: 8 label files and 2 validation images in "
    done = launch("train_ssl", *own, "link", *SMALL)
    assert done.code == 0 and note in done.out, done.text
    used = (tmp_path / "out/run/unlabeled.txt").read_text().splitlines()
    assert {line.split("/day")[0] for line in used} == {
        "images/more",
        "images/test",
        "images/train",
    }
    assert len(used) == 9
    done = launch("check_data", *own, "link")
    assert done.code == 0 and note in done.out, done.text
    assert "unlabeled link: 9 images" in done.out
    # Who validates on training images keeps nothing apart.
    done = launch("check_data", *own, "link", "--data.val_split", "train")
    assert done.code == 0 and "note: 8 label files in link" in done.out, done.text
    words = ("data/labels", "8 label files")
    more = ("data/labels", *SMALL, "--name", "other")
    refused_saying("ssl", *own, *more, words=words, code=1)


def test_unlabeled_images_from_anywhere(launch: Launcher, config: Path, tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    for number, size in enumerate([(64, 128), (48, 96), (200, 110)]):
        layouts.write_image(photographs / f"day {number}" / "x.png", number, size)
    own = ("--config", config, "--labeled", "full", "--unlabeled", "photographs", "--output", "out")
    words = ("64x128 (day 0/x)", "48x96", "data.crop")
    refused_saying("ssl", *own, "--name", "run", words=words, code=1)
    assert not (tmp_path / "out").exists()
    # Images of another scale are told of, unless they are resized.
    for path in photographs.rglob("*.png"):
        layouts.write_image(path, size=(200, 110))
    crop = ("--data.crop", "[64, 64]", "--iterations", 2)
    done = launch.ok("train_ssl", *own, *crop)
    assert ": 12 labeled images" in done.out and ": 3 unlabeled images" in done.out
    assert re.search(r"images has 64 pixels, that of unlabel+ed ones 110 \(median\)", done.out)
    done = launch("train_ssl", *own, *crop, "--data.resize", "[64, 128]")
    assert done.code == 0 and "at other scales" not in done.out, done.text


def test_make_demo(launch: Launcher, tmp_path: Path) -> None:
    arguments = ("--out", "demo", "--images", 2, "--size", "32x64", "--seed", 3)
    launch.ok("make_demo", *arguments)
    images = [*(tmp_path / "demo" / "leftImg8bit").rglob("*.png")]
    assert len(images) == 3
    for path in images:
        with Image.open(path) as image:
            assert image.size == (64, 32)
    refused_saying("make-demo", *arguments, words=["demo already exists"], code=1)
    for flags, word in ((("--size", "big"), "HEIGHTxWIDTH"), (("--seed", -1), "--seed")):
        refused_saying("make-demo", "--out", "b", *flags, words=[word])
    assert not (tmp_path / "b").exists()
    # A source is a rendering unless something else is asked for.
    for name, more in {"a": (), "c": ("--look", "render"), "d": ("--look", "camera")}.items():
        arguments = ("--out", name, "--images", 1, "--size", "32x64", "--layout", "gta5", *more)
        launch.ok("make_demo", *arguments)
    first, same, other = ((tmp_path / name / "images/00001.png").read_bytes() for name in "acd")
    assert first == same != other


def test_supervised(launch: Launcher, config: Path, tmp_path: Path) -> None:
    """Whatever method a file names."""
    (tmp_path / "method.yaml").write_text("method: semi_supervised\n")
    own = ("--config", config, "method.yaml", "--dataset", "demo", *SMALL)
    launch.ok("train_supervised", *own)
    run = tmp_path / "out" / "run"
    assert resolve_settings([run / "config.yaml"], {}).method == "supervised"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["effective_batch"] == {"labeled": 2}
