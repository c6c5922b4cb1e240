"""tools/figures.py: every figure through a real process, and what it refuses."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.analysis.figures import FIGURES
from mixseg.scenes import write_demo
from tests.end_to_end.processes import Launcher, metrics, refused, refuses, refuses_each, tree


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Flags of a data set of six scenes, 32x64."""
    root = tmp_path_factory.mktemp("scenes") / "scenes"
    write_demo(root, look="camera", counts={"train": 4, "val": 2}, size=(32, 64))
    return ("--dataset", "cityscapes", "--data-root", str(root))


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


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
        lines = launch.ok("figures", *flags).out.splitlines()
        assert [line.split()[0] for line in lines] == list(FIGURES)
        assert all(len(line.split()) > 5 for line in lines)
    assert tree(tmp_path) == []


def test_figures_of_data_sets(launch: Launcher, scenes: tuple[str, ...], tmp_path: Path) -> None:
    names = ("mixing", "cow-masks", "class-frequencies", "class-positions")
    flags = (*scenes, "--source", "cityscapes", "--source-root", scenes[-1], "--seed", "3")
    done = launch.ok("figures", *names, *flags, "--output", "made")
    made = tmp_path / "made"
    check_files(made, *names)
    assert sorted(done.out.split()) == [f"made/{name}" for name in tree(made)]
    # What lies there is kept, and replaced where that is asked for, by the same.
    words = ["made/mixing.png", "--overwrite"]
    refuses("figures", "mixing", *flags, "--output", "made", words=words)
    before = {path: path.read_bytes() for path in made.iterdir()}
    launch.ok("figures", *names, *flags, "--output", "made", "--overwrite")
    assert {path: path.read_bytes() for path in made.iterdir()} == before


def test_figures_of_a_run(launch: Launcher, reference: Path, tmp_path: Path) -> None:
    names = ("confident-share", "learning-curves", "confidence", "predictions", "temperatures")
    flags = ("--run", reference, "--images", "2", "--threshold", "0.3", "--pixel", "63,127")
    launch.ok("figures", *names, *flags, "--output", "made")
    made = tmp_path / "made"
    check_files(made, *names)

    logged = {line["step"]: line for line in metrics(reference) if "confident" in line}
    shares = table(made, "confident-share")
    assert [int(row["step"]) for row in shares] == list(logged)
    for row in shares:
        step = int(row["step"])
        assert float(row["confident"]) == pytest.approx(logged[step]["confident"])
        # (2.13) with c = 5 and 10,000 steps; the first step is number 0.
        ramp = np.exp(-5 * (1 - (step - 1) / 10_000) ** 2)
        assert float(row["sigmoid ramp"]) == pytest.approx(ramp)

    curves = table(made, "learning-curves")
    student = {
        int(row["step"]): float(row["value"]) for row in curves if row["curve"] == "miou/student"
    }
    lines = [line for line in metrics(reference) if "miou/student" in line]
    assert student == pytest.approx({line["step"]: line["miou/student"] for line in lines})
    assert {row["curve"] for row in curves} >= {"miou/teacher", "loss/supervised"}

    confidence = table(made, "confidence")
    assert len({row["image"] for row in confidence}) == 2
    assert sum(int(row["pixels"]) for row in confidence) == 2 * 64 * 128
    for row in confidence:
        assert 0 <= int(row["above the threshold"]) <= int(row["pixels"])
        assert 1 / 19 <= float(row["mean confidence"]) <= 1

    predicted = table(made, "predictions")
    for column in ("ground truth", "run"):
        rows = [row for row in predicted if row["column"] == column]
        assert sum(int(row["pixels"]) for row in rows) == 2 * 64 * 128
        if column == "ground truth":
            assert {float(row["iou"]) for row in rows if row["iou"]} == {1.0}

    for column in ("T=0.5", "T=1", "T=2"):
        total = sum(float(row[column]) for row in table(made, "temperatures"))
        assert total == pytest.approx(1)


def test_pseudo_labels_of_every_checkpoint_against_the_truth(
    launch: Launcher, reference: Path, config: Path, tmp_path: Path
) -> None:
    launch.ok("figures", "pseudo-labels", "--run", reference, "--output", "made")
    check_files(tmp_path / "made", "pseudo-labels")
    found = table(tmp_path / "made", "pseudo-labels")
    # Twelve scenes, of which a quarter is labeled.
    unlabeled = (reference / "unlabeled.txt").read_text().split()
    assert {row["images"] for row in found} == {f"{len(unlabeled)} unlabeled images"}
    kept = sorted(path.name for path in (reference / "checkpoints").glob("step-*"))
    assert [f"step-{int(row['step']):08d}" for row in found[::20]] == kept and len(kept) > 1
    every = [row for row in found if row["class"] == "all classes"]
    for step, row in zip(kept, every, strict=True):
        mine = [one for one in found if f"step-{int(one['step']):08d}" == step and one != row]
        for column in ("share", "share in the truth"):
            assert sum(float(one[column]) for one in mine) == pytest.approx(1)
        right = sum(float(one["accuracy"] or 0) * int(one["pixels"]) for one in mine)
        assert float(row["accuracy"]) == pytest.approx(right / int(row["pixels"]))

    # A checkpoint alone, and photographs: none of them has a label, so that the others are shown.
    photographs = tmp_path / "photographs"
    write_demo(tmp_path / "more", look="camera", counts={"train": 3}, size=(64, 128))
    shutil.copytree(tmp_path / "more" / "leftImg8bit" / "train", photographs)
    flags = ("--labeled", "full", "--unlabeled", photographs, "--iterations", "2", "--name", "few")
    launch.ok("train_ssl", "--config", config, *flags, "--output", "runs")
    (only,) = (tmp_path / "runs/few/checkpoints").glob("step-*")
    launch.ok("figures", "pseudo-labels", "--run", only, "--images", "2", "--output", "others")
    found = table(tmp_path / "others", "pseudo-labels")
    assert {row["images"] for row in found} == {"2 images of val (no unlabeled image has a label)"}
    assert {row["step"] for row in found} == {"2"}


def test_runs_are_compared_on_other_data(
    launch: Launcher, reference: Path, scenes: tuple[str, ...], tmp_path: Path
) -> None:
    first = min((reference / "checkpoints").glob("step-*"))
    launch.ok(
        *("figures", "predictions", *scenes, "--split", "val", "--images", "1"),
        *("--run", reference, "--run", first, "--network", "student"),
    )
    found = table(tmp_path / "figures", "predictions")
    assert len({row["column"] for row in found}) == 3
    assert sum(int(row["pixels"]) for row in found) == 3 * 32 * 64


def test_refused_before_anything_is_made(reference: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cases = {
        "mixin": "'mixing'",
        "confidence": "--run",
        "mixing --run x": "--run",
        "mixing --threshold 0.5": "--threshold",
        "temperatures --temperatures 0": "--temperatures",
        "temperatures --logits 1 nan": "--logits",
        "temperatures --run {run} --pixel 64,0": "64 rows 128 columns",
        "temperatures --run {run} --pixel a,b": "--pixel",
        "cow-masks --sigmas 4 4": "--sigmas",
        "mixing --seed -1": "--seed",
        "mixing --dataset camvit": "camvid",
        "mixing --dataset camvid": "--data-root",
        "mixing --data-root x": "--data-root --dataset",
        "mixing --dataset demo demo": "at most 1",
        "confident-share --run x --split val": "--split",
        "mixing --output file/below": "file/below",
        "mixing --output file": "file",
    }
    refuses_each("figures", cases, run=reference)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_nobody_may_write_to(launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    refused(launch("figures", "temperatures", "--output", "closed"), "cannot be written into")


def test_runs_and_data_that_are_none(reference: Path, tmp_path: Path) -> None:
    log = shutil.copytree(reference, tmp_path / "run") / "metrics.jsonl"
    for content, figure in (
        ('{"step": 1, "lr": 0.1}\n', "confident-share"),
        ('{"step": 1, "lr": 0.1}\n', "learning-curves"),
        ("no json\n", "learning-curves"),
        (None, "learning-curves"),
    ):
        log.write_text(content or "")
        if content is None:
            log.unlink()
        refuses("figures", figure, "--run", "run", words=["run"], code=1)
    refuses("figures", "predictions", "--run", "x", words=["x"], code=1)
    for folder in ("train", "trainannot"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name in ("class-frequencies", "mixing"):
        own = ("--dataset", "camvid", "--data-root", "data")
        refuses("figures", name, *own, words=["data"], code=1)
