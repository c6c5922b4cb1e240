"""``tools/prepare_data.py`` as a person runs it, interrupts it, and trains on what it wrote."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.data.prepared_copy import MANIFEST
from tests.data.layouts import (
    cycle_ids,
    write_camvid,
    write_cityscapes,
    write_gta5,
    write_image,
    write_label,
)
from tests.end_to_end.processes import Launcher, assert_same_run, refused, tree

CAMVID = ("--dataset", "camvid", "--data-root", "data", "--output", "copy", "--size", "24x32")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        name: (folder / name).read_bytes() for name in tree(folder) if (folder / name).is_file()
    }


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """40 training and 2 validation pairs that take a while: the manifest follows files slowly, all
    the more where the disk is slow."""
    size = (1000, 1500)
    for split, count in (("train", 40), ("val", 2)):
        for index in range(count):
            image = tmp_path / f"data/{split}/{index:03}.png"
            label = tmp_path / f"data/{split}annot/{index:03}.png"
            if index < 2:
                write_label(label, cycle_ids(range(12), index, size))
                image.parent.mkdir(exist_ok=True)
                noise = np.random.default_rng(index).integers(0, 12, (*size, 3), dtype=np.uint8)
                Image.fromarray(noise).save(image, compress_level=1)
            else:  # to write so many is slower than to copy them
                for path in (image, label):
                    shutil.copy(path.with_stem(f"{index % 2:03}"), path)
    return tmp_path


@pytest.mark.parametrize(
    ("jobs", "number"),
    [(1, signal.SIGINT), pytest.param(2, signal.SIGKILL, marks=pytest.mark.slow)],
)
def test_an_interrupted_copy_goes_on(jobs: int, number: int, large: Path, launch: Launcher) -> None:
    before = contents(large / "data")
    options = (*CAMVID, "--jobs", jobs)
    manifest = large / "copy" / MANIFEST
    for _ in range(20):  # on a busy machine a copy may be whole before the signal is sent
        running = launch.start("prepare_data", *options, cwd=large)
        running.until(lambda: manifest.exists() and manifest.read_text().count("sha256") >= 6)
        running.kill(number, group=True)
        if running.wait().code:
            break
        shutil.rmtree(large / "copy")
    assert running.code == (-number if number == signal.SIGKILL else 130)
    listed = json.loads(manifest.read_text())["files"]
    assert 6 <= len(listed) < 84
    written = {name: (large / "copy" / name).stat().st_ino for name in listed}
    done = launch("prepare_data", *options, cwd=large)
    assert done.code == 0, done.text
    # A file that is written again gets another inode.
    assert {name: (large / "copy" / name).stat().st_ino for name in listed} == written
    assert f"{84 - len(listed)} files written, {len(listed)} were there, 0 left out" in done.out
    other = [*options]
    other[other.index("copy")] = "fresh"
    other[-1] = 3 - jobs  # neither the interruption nor the number of processes shows
    assert launch("prepare_data", *other, cwd=large).code == 0
    assert contents(large / "copy") == contents(large / "fresh")
    assert contents(large / "data") == before


def test_training_on_the_copy_is_the_same(launch: Launcher, config: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_cityscapes(tmp_path / "data", split)
    for path in (tmp_path / "data").rglob("*.png"):
        with Image.open(path) as small:
            small.resize((100, 60), Image.Resampling.NEAREST).save(path)
    run = (
        "--config", config, "--set", "data.dataset=cityscapes", "data.resize=[40,64]",
        "data.labeled=1/2", "--iterations", 4,
    )  # fmt: skip
    data = ("--data-root", "data")
    done = launch("prepare_data", *run, *data, "--output", "a copy", cwd=tmp_path)
    assert done.code == 0, done.text
    assert "5 labelled images outside of 'train' keep their size" in done.out
    (line,) = [line for line in done.out.splitlines() if line.startswith("use it with ")]
    flags = shlex.split(line.removeprefix("use it with "))
    for name, of in (("original", data), ("prepared", flags)):
        done = launch("train_ssl", *run, *of, "--name", name, cwd=tmp_path)
        assert done.code == 0, done.text
    one, other = (tmp_path / "runs" / name for name in ("original", "prepared"))
    assert_same_run(one, other, settings=False)


def test_parts_of_a_domain_adaptation(launch: Launcher, tmp_path: Path) -> None:
    write_gta5(tmp_path / "gta5")
    write_cityscapes(tmp_path / "city", "val")
    for name in ("a.png", "b/c.jpg"):
        write_image(tmp_path / "more" / name)
    settings = (
        "--dataset", "cityscapes", "--source", "gta5", "--source-root", "gta5", "--data-root",
        "city", "--unlabeled", "more",
    )  # fmt: skip
    for part, flag, copied in (
        ("source", "--source-root source", "labels/00001.png"),
        ("unlabeled", "--unlabeled unlabeled", "b/c.jpg"),
    ):
        done = launch(
            "prepare_data", *settings, "--part", part, "--output", part, "--size", "6x10",
            cwd=tmp_path,
        )  # fmt: skip
        assert done.code == 0, done.text
        assert f"use it with {flag}\n" in done.out
        assert "at the size of the copy: --set " in done.out
        assert (tmp_path / part / copied).is_file()


def test_damaged_files(launch: Launcher, tmp_path: Path) -> None:
    ids = write_camvid(tmp_path / "data", count=12)
    write_camvid(tmp_path / "data", "val")
    cut = tmp_path / f"data/train/{ids[1]}.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    void = tmp_path / f"data/trainannot/{ids[5]}.png"
    write_label(void, np.full((12, 20), 200, dtype=np.uint8))
    done = launch("prepare_data", *CAMVID, cwd=tmp_path)
    assert done.code == 1, done.text
    for text in ("undecodable: 1", "unknown ids: 1", cut.name, void.name, "--skip-bad"):
        assert text in done.out
    assert "28 files written, 0 were there, 4 left out" in done.out
    done = launch("prepare_data", *CAMVID, "--skip-bad", cwd=tmp_path)
    assert done.code == 0, done.text
    assert "4 files written, 28 were there, 0 left out" in done.out
    assert "undecodable: 1" in done.out


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("--output", "data/copy"), ["data/copy", "lies in the data set"]),
        (("--jobs", 0), ["--jobs: expected"]),
        (("--compression", 10), ["--compression: expected"]),
        (("--size", "24"), ["--size"]),
        (("--part", "sorce"), ["unknown part 'sorce'", "source"]),
        (("--part", "source"), ["--source-root"]),
        (("--part", "unlabeled"), ["--unlabeled"]),
        (("--data-root", "nowhere"), ["nowhere"]),
    ],
)
def test_refused(
    arguments: tuple[object, ...], fragments: list[str], launch: Launcher, tmp_path: Path
) -> None:
    write_camvid(tmp_path / "data")
    write_camvid(tmp_path / "data", "val")
    before = tree(tmp_path)
    code = 1 if "nowhere" in arguments else 2
    refused(launch("prepare_data", *CAMVID, *arguments, cwd=tmp_path), *fragments, code=code)
    assert tree(tmp_path) == before


def test_output_and_size_are_needed(launch: Launcher, tmp_path: Path) -> None:
    write_camvid(tmp_path / "data")
    write_camvid(tmp_path / "data", "val")
    options = ("--config", tmp_path / "plain.yaml", "--output", "copy")
    (tmp_path / "plain.yaml").write_text("data: {dataset: camvid, root: data}\n")
    refused(launch("prepare_data", *options, cwd=tmp_path), "--size HEIGHTxWIDTH is missing")
    refused(launch("prepare_data", "--output", "copy", cwd=tmp_path), "data.root: where is demo?")
