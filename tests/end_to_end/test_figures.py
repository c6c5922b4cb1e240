"""tools/figures.py: every figure through a real process, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mixseg.analysis.figures import FIGURES
from mixseg.errors import CheckpointError, ConfigError, DataError
from mixseg.scenes import write_demo
from tests.data.layouts import write_camvid
from tests.end_to_end.processes import Launcher, metrics, refused, refused_here, tree


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Flags of a data set of six scenes, 32x64."""
    root = tmp_path_factory.mktemp("scenes") / "scenes"
    write_demo(root, look="camera", counts={"train": 4, "val": 2}, size=(32, 64))
    return ("--dataset", "cityscapes", "--data-root", str(root))


def table(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text())))


def check_files(folder: Path, *names: str) -> None:
    expected = []
    for name in names:
        expected += [f"{name}.csv", f"{name}.png"]
        expected += [f"{name}.svg"] if FIGURES[name].is_chart else []
        with Image.open(folder / f"{name}.png") as image:
            image.load()
            assert image.width > 200
        assert table(folder, name)
    assert tree(folder) == sorted(expected)


def test_the_list(launch: Launcher, tmp_path: Path) -> None:
    for flags in ((), ("mixing", "--list")):
        done = launch.ok("figures", *flags)
        lines = done.out.splitlines()
        assert [line.split()[0] for line in lines] == list(FIGURES)
        assert all(len(line.split()) > 5 for line in lines)
    assert tree(tmp_path) == []


def test_figures_of_data_sets(launch: Launcher, scenes: tuple[str, ...], tmp_path: Path) -> None:
    names = ("mixing", "cow-masks", "class-frequencies", "class-positions")
    flags = (*scenes, "--source", "cityscapes", "--source-root", scenes[-1], "--seed", "3")
    done = launch.ok("figures", *names, *flags, "--output", "made")
    check_files(tmp_path / "made", *names)
    assert done.out.split() == [
        f"made/{name}.{ending}"
        for name in names
        for ending in ("png", "csv", *(["svg"] if FIGURES[name].is_chart else []))
    ]
    # What lies there is kept, and replaced where that is asked for, by the same.
    again = launch("figures", names[0], *flags, "--output", "made")
    refused(again, "made/mixing.png", "--overwrite")
    before = {path: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    done = launch.ok("figures", *names, *flags, "--output", "made", "--overwrite")
    assert {path: path.read_bytes() for path in (tmp_path / "made").iterdir()} == before


def test_frequencies_of_several_sets(
    launch: Launcher, scenes: tuple[str, ...], tmp_path: Path
) -> None:
    write_camvid(tmp_path / "camvid", count=2)
    flags = ("--dataset", "camvid", "cityscapes", "--data-root", "camvid", scenes[-1])
    done = launch.ok("figures", "class-frequencies", *flags)
    found = table(tmp_path / "figures", "class-frequencies")
    ids = np.stack(
        [np.array(Image.open(path)) for path in (tmp_path / "camvid" / "trainannot").iterdir()]
    )
    mine = [int(row["pixels"]) for row in found if row["dataset"] == "camvid"]
    assert mine == [int((ids == one).sum()) for one in range(11)]
    assert {row["dataset"] for row in found} == {"camvid", "cityscapes"}


def test_figures_of_a_run(launch: Launcher, reference: Path, tmp_path: Path) -> None:
    run = reference
    names = ("confident-share", "learning-curves", "confidence", "predictions", "temperatures")
    flags = ("--run", run, "--images", "2", "--threshold", "0.3")
    done = launch.ok("figures", *names, *flags, "--output", "made")
    made = tmp_path / "made"
    check_files(made, *names)

    logged = {line["step"]: line for line in metrics(run) if "confident" in line}
    shares = table(made, "confident-share")
    targets = yaml.safe_load((run / "config.yaml").read_text())["targets"]
    ramp_steps = targets.get("ramp_steps", 10_000)  # an option of weightings that have a ramp
    assert [int(row["step"]) for row in shares] == list(logged)
    for row in shares:
        assert float(row["confident"]) == pytest.approx(logged[int(row["step"])]["confident"])
        # (2.13) with c = 5; the first step is number 0.
        progress = min(1.0, (int(row["step"]) - 1) / ramp_steps)
        assert float(row["sigmoid ramp"]) == pytest.approx(np.exp(-5 * (1 - progress) ** 2))

    curves = table(made, "learning-curves")
    student = {
        int(row["step"]): float(row["value"]) for row in curves if row["curve"] == "miou/student"
    }
    assert student == pytest.approx(
        {line["step"]: line["miou/student"] for line in metrics(run) if "miou/student" in line}
    )
    assert {row["curve"] for row in curves} >= {"miou/teacher", "loss/supervised"}

    confidence = table(made, "confidence")
    assert len({row["image"] for row in confidence}) == 2
    assert sum(int(row["pixels"]) for row in confidence) == 2 * 64 * 128
    for row in confidence:
        assert 0 <= int(row["above the threshold"]) <= int(row["pixels"])
        assert 1 / 19 <= float(row["mean confidence"]) <= 1

    predicted = table(made, "predictions")
    assert {row["column"] for row in predicted} == {"ground truth", "run"}
    for column in ("ground truth", "run"):
        pixels = sum(int(row["pixels"]) for row in predicted if row["column"] == column)
        assert pixels == 2 * 64 * 128
    own = [row["iou"] for row in predicted if row["column"] == "ground truth" and row["iou"]]
    assert {float(value) for value in own} == {1.0}

    for column in ("T=0.5", "T=1", "T=2"):
        total = sum(float(row[column]) for row in table(made, "temperatures"))
        assert total == pytest.approx(1)


def test_runs_are_compared_on_other_data(
    launch: Launcher, reference: Path, scenes: tuple[str, ...], tmp_path: Path
) -> None:
    first = sorted((reference / "checkpoints").glob("step-*"))[0]
    done = launch.ok(
        "figures",
        *("predictions", *scenes, "--split", "val", "--images", "1"),
        *("--run", reference, "--run", first, "--network", "student"),
    )
    found = table(tmp_path / "figures", "predictions")
    assert len({row["column"] for row in found}) == 3
    assert sum(int(row["pixels"]) for row in found) == 3 * 32 * 64


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ("mixin", "'mixing'"),
        ("confidence", "--run"),
        ("mixing --run x", "--run does nothing"),
        ("mixing --threshold 0.5", "--threshold does nothing"),
        ("temperatures --temperatures 0", "--temperatures: expected"),
        ("temperatures --logits 1 nan", "--logits"),
        ("cow-masks --sigmas 4 4", "--sigmas"),
        ("mixing --seed -1", "--seed: expected"),
        ("mixing --dataset camvit", "camvid"),
        ("mixing --dataset camvid", "--data-root: 0 folders"),
        ("mixing --data-root x", "--data-root needs --dataset"),
        ("mixing --dataset demo demo", "at most 1"),
        ("confident-share --run x --split val", "--split does nothing"),
        ("mixing --output file/below", "file/below: cannot be made"),
        ("mixing --output file", "file: cannot be made"),
    ],
)
def test_refused_before_anything_is_made(
    flags: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    refused_here("figures", *flags.split(), error=ConfigError, match=word)
    assert [name for name in tree(tmp_path) if name.endswith(("png", "csv"))] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_nobody_may_write_to(launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    done = launch("figures", "temperatures", "--output", "closed")
    refused(done, "cannot be written into")


def test_runs_that_are_none(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(reference, tmp_path / "run")
    log = tmp_path / "run" / "metrics.jsonl"
    log.write_text(json.dumps({"step": 1, "lr": 0.1}) + "\n")
    refused_here("figures", "confident-share", "--run", "run", error=DataError, match="no share")
    curves = ("learning-curves", "--run", "run")
    refused_here("figures", *curves, error=DataError, match="neither mIoU nor losses")
    log.write_text("no json\n")
    refused_here("figures", *curves, error=DataError, match="no line of numbers")
    log.unlink()
    refused_here("figures", *curves, error=DataError, match="has no metrics.jsonl")
    refused_here("figures", "predictions", "--run", "x", error=CheckpointError, match="x")
    assert not list((tmp_path / "figures").iterdir())


def test_an_empty_data_set(launch: Launcher, tmp_path: Path) -> None:
    for folder in ("train", "trainannot"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    flags = ("--dataset", "camvid", "--data-root", "data")
    for name in ("class-frequencies", "mixing"):
        done = launch("figures", name, *flags)
        refused(done, "data", code=1)


def test_a_pixel_outside(launch: Launcher, reference: Path, tmp_path: Path) -> None:
    flags = ("temperatures", "--run", reference, "--pixel")
    refused(launch("figures", *flags, "64,0"), "64 rows and 128 columns")
    refused(launch("figures", *flags, "a,b"), "--pixel: expected")
    done = launch.ok("figures", *flags, "63,127")
