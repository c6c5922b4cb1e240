"""``mixseg prepare-data`` as a person runs it, interrupts it, and trains on what it wrote."""

from __future__ import annotations

import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.commands.prepare_data import prepare_data
from tests.data.layouts import (
    cycle_ids,
    write_camvid,
    write_cityscapes,
    write_gta5,
    write_image,
    write_label,
)
from tests.end_to_end.processes import Launcher, assert_same_run, refuses_each

CAMVID = ("--dataset", "camvid", "--data-root", "data", "--output", "copy", "--size", "24x32")


@pytest.fixture
def camvid(tmp_path: Path) -> list[str]:
    """Pairs of 12 training images, in ``data`` of the working folder."""
    write_camvid(tmp_path / "data", "val")
    return write_camvid(tmp_path / "data", count=12)


def test_ctrl_c(launch: Launcher, tmp_path: Path) -> None:
    """40 pairs that take a while; what is written when it comes is kept."""
    write_camvid(tmp_path / "data", "val")
    first = tmp_path / "data/trainannot/000.png"
    write_label(first, cycle_ids(range(12), 0, (1000, 1500)))
    (tmp_path / "data/train").mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 12, (1000, 1500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "data/train/000.png", compress_level=1)
    for folder in ("train", "trainannot"):  # to write so many is slower than to copy them
        for index in range(1, 40):
            path = tmp_path / "data" / folder / f"{index:03}.png"
            shutil.copy(path.with_stem("000"), path)
    written = tmp_path / "copy/trainannot"
    for _ in range(20):  # on a busy machine a copy may be whole before the signal is sent
        running = launch.start("prepare_data", *CAMVID, "--jobs", 2)
        running.until(lambda: written.is_dir() and len(list(written.glob("*.png"))) >= 6)
        running.kill(signal.SIGINT, group=True)
        if running.wait().code:
            break
        shutil.rmtree(tmp_path / "copy")
    assert running.code == 130
    done = launch.ok("prepare_data", *CAMVID, "--jobs", 1)
    (line,) = (line for line in done.out.splitlines() if " files written, " in line)
    new, kept, _ = (int(word) for word in line.split() if word.isdigit())
    assert kept >= 6 and new + kept == 88


def test_training_on_the_copy_is_the_same(launch: Launcher, config: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_cityscapes(tmp_path / "data", split)
    for path in (tmp_path / "data").rglob("*.png"):
        with Image.open(path) as small:
            small.resize((100, 60), Image.Resampling.NEAREST).save(path)
    run = (
        *("--config", config, "--iterations", 4, "--set", "data.dataset=cityscapes"),
        *("data.resize=[40,64]", "data.labeled=1/2"),
    )
    done = launch.ok("prepare_data", *run, "--data-root", "data", "--output", "a copy")
    assert "5 labeled images outside of 'train' keep their size" in done.out
    (line,) = [line for line in done.out.splitlines() if line.startswith("use it with ")]
    copy = shlex.split(line.removeprefix("use it with "))
    for name, flags in (("original", ("--data-root", "data")), ("prepared", copy)):
        launch.ok("train_ssl", *run, *flags, "--name", name)
    one, other = (tmp_path / "runs" / name for name in ("original", "prepared"))
    assert_same_run(one, other, settings=False)


def test_parts_of_a_domain_adaptation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gta5(tmp_path / "gta5")
    write_cityscapes(tmp_path / "city", "val")
    for name in ("a.png", "b/c.jpg"):
        write_image(tmp_path / "more" / name)
    settings = (
        *("--dataset", "cityscapes", "--data-root", "city", "--unlabeled", "more"),
        *("--source", "gta5", "--source-root", "gta5", "--size", "6x10"),
    )
    for part, flag, copied in (
        ("source", "--source-root", "labels/00001.png"),
        ("unlabeled", "--unlabeled", "b/c.jpg"),
    ):
        assert prepare_data([*settings, "--part", part, "--output", f"{part} copy"]) == 0
        assert f"use it with {flag} '{part} copy'\n" in capsys.readouterr().out
        assert (tmp_path / f"{part} copy" / copied).is_file()


def test_damaged_files(camvid: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cut = Path(f"data/train/{camvid[1]}.png")
    cut.write_bytes(cut.read_bytes()[:-40])
    for code, flags, counted in (
        (1, (), "30 files written, 0 were there, 2 left out"),
        (0, ("--skip-bad",), "2 files written, 30 were there, 0 left out"),
    ):
        assert prepare_data([*CAMVID, *flags]) == code
        said = capsys.readouterr().out
        assert counted in said and "undecodable: 1" in said and cut.name in said


def test_refused(camvid: list[str], tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("data: {dataset: camvid, root: data}\n")
    cases = {
        "--output data/copy": "data/copy",
        "--jobs 0": "--jobs",
        "--compression 10": "--compression",
        "--size 24": "--size",
        "--part sorce": "source",
        "--part source": "--source-root",
        "--part unlabeled": "--unlabeled",
    }
    refuses_each("prepare-data", cases, *CAMVID)
    refuses_each("prepare-data", {"--data-root nowhere": "nowhere"}, *CAMVID, code=1)
    others = {
        "--dataset camvid --data-root data": "--output",
        "--output copy": "data.root",
        "--config plain.yaml --output copy": "--size",
    }
    refuses_each("prepare-data", others)
