"""tools/select_images.py on scenes, and the simulation, which trains."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data.layouts import write_image
from tests.end_to_end.processes import (
    RUN,
    Launcher,
    assert_same_run,
    files_below,
    refuses,
    refuses_each,
)

TOOL = "select_images"


def rows(path: Path) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_a_list_that_the_next_run_takes(
    reference: Path, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    done = launch.ok(TOOL, reference, "--budget", 3, "--output", "made")
    assert "3 of 9 images are chosen" in done.out
    chosen = (tmp_path / "made/select.txt").read_text().splitlines()
    labeled = (reference / "labeled.txt").read_text().splitlines()
    ids = [name.removesuffix(".png") for name in chosen]
    assert set(ids) <= set((reference / "unlabeled.txt").read_text().splitlines())
    assert (tmp_path / "made/labeled.txt").read_text().splitlines() == labeled + ids
    with Image.open(tmp_path / "made/select.png") as sheet:
        assert sheet.width > 6 * 120

    found = rows(tmp_path / "made/select.csv")
    assert [row["chosen"] for row in found] == ["1", "2", "3"] + 6 * [""]
    for row, name in zip(found[:3], chosen, strict=True):
        assert row["image"].endswith(name)
    assert all(0 <= float(row["score"]) <= 1 for row in found)

    # The same again, and the highest scores where nothing else matters.
    launch.ok(TOOL, reference, "--budget", 3, "--output", "again", "--batch-size", 4)
    launch.ok(TOOL, reference, "--budget", 4, "--output", "plain", "--diversity", 0)
    for path in files_below(tmp_path / "made"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    scores = [float(row["score"]) for row in rows(tmp_path / "plain/select.csv")]
    assert scores == sorted(scores, reverse=True)

    for name, count in (("labeled.txt", 6), ("select.txt", 3)):
        run = ("--output", "out", "--name", f"with-{name}", "--iterations", 1)
        launch.ok("train_supervised", "--config", config, "--labeled", f"made/{name}", *run)
        known = (tmp_path / f"out/with-{name}/labeled.txt").read_text().splitlines()
        assert len(known) == count and set(ids) <= set(known)


def test_a_folder_without_what_is_labeled(
    reference: Path, launch: Launcher, tmp_path: Path
) -> None:
    record = json.loads((reference / "data.json").read_text())
    scenes = Path(os.environ["MIXSEG_CACHE"]).glob("demo-camera-train12_val3-64x128-*/leftImg8bit")
    train = next(iter(scenes)) / "train"
    for name in (*record["labeled"], *record["unlabeled"][:2]):
        link = tmp_path / "photographs" / f"{Path(name).name}.png"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(train / f"{name}.png")
    write_image(tmp_path / "photographs/=1+1.png", size=(33, 47))
    (tmp_path / "photographs/cut.png").write_bytes(b"no picture")
    given = ("--images", "photographs", "--budget", 9, "--output", "made", "--strategy", "entropy")
    done = launch(TOOL, reference / "checkpoints/best-student", *given)
    assert done.code == 1 and "Traceback" not in done.text, done.text
    assert "3 images of photographs are labeled already and left out" in done.out
    assert done.out.count("skipped photographs/cut.png") == 1
    assert "note: --budget 9" in done.out and "3 of 4 images are chosen" in done.out
    assert len(rows(tmp_path / "made/select.csv")) == 3
    assert not (tmp_path / "made/labeled.txt").exists()
    assert "=1+1.png" in (tmp_path / "made/select.txt").read_text().splitlines()


def test_cells_are_no_formulas(reference: Path, launch: Launcher, tmp_path: Path) -> None:
    write_image(tmp_path / "-a.png")
    (tmp_path / "list.txt").write_text("-a.png\n")
    given = ("--images", "list.txt", "--budget", 1, "--output", "made", "--views", 1)
    launch.ok(TOOL, reference, *given)
    (row,) = rows(tmp_path / "made/select.csv")
    assert row["image"] == "'-a.png"


def test_refusals(reference: Path, config: Path, launch: Launcher, tmp_path: Path) -> None:
    for name in ("empty", "full", "made/checkpoints"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "full/notes.txt").write_text("mine")
    write_image(tmp_path / "odd/a\nb.png")
    (tmp_path / "made/config.yaml").write_text(config.read_text())
    usage = {
        "{run} --budget 3 --output full": "--output full",
        "{run} --budget 5 --rounds 2 --simulate --output new": "10 labels 9 images",
        "{run} --budget 3 --rounds 1 --simulate --output full": "full is not empty",
        "{run} --budget 3 --rounds 1 --simulate --output a,b": "comma",
        "made --budget 3 --simulate --output new": "made summary.json",
    }
    refuses_each("select", usage, run=reference)
    others = {
        "{run} --budget 3 --images empty --output new": "empty",
        "{run} --budget 3 --images nowhere --output new": "nowhere",
        "{run} --budget 3 --images odd --output new": "line break",
        "made --budget 3 --output new": "made no checkpoint",
        "nowhere --budget 3 --output new": "nowhere",
    }
    refuses_each("select", others, code=1, run=reference)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_simulation_goes_on_where_it_stopped(
    config: Path, launch: Launcher, tmp_path: Path
) -> None:
    long = ("--iterations", 20, "--set", "validation.every=0", "checkpoints.every=10")
    launch.ok("train_ssl", "--config", config, *RUN, *long)
    command = (TOOL, "out/run", "--simulate", "--budget", 2, "--rounds", 2, "--views", 2)
    launch.ok(*command, "--output", "whole")
    stopped = launch.start(*command, "--output", "parts")
    metrics = tmp_path / "parts/random-seed0-round1/metrics.jsonl"
    stopped.until(lambda: metrics.is_file() and metrics.stat().st_size)
    stopped.kill(signal.SIGINT)
    done = stopped.wait()
    assert done.code == 130 and "the same command goes on with it" in done.out, done.text
    assert not (metrics.parent / "summary.json").exists()
    first = tmp_path / "parts/inconsistency-seed0-round1"
    before = (first / "metrics.jsonl").stat().st_mtime_ns
    done = launch.ok(*command, "--output", "parts")
    assert (first / "metrics.jsonl").stat().st_mtime_ns == before

    whole, parts = (rows(tmp_path / name / "results.csv") for name in ("whole", "parts"))
    assert [row["labeled"] for row in whole] == ["3", "5", "5", "7", "7"]
    for one, other in zip(whole, parts, strict=True):
        assert one | {"run": ""} == other | {"run": ""}
    for name in ("inconsistency", "random"):
        last = f"{name}-seed0-round2"
        assert_same_run(tmp_path / "whole" / last, tmp_path / "parts" / last, settings=False)
        lists = [
            (tmp_path / f"whole/{name}-seed0-round{number}.txt").read_text().splitlines()
            for number in (1, 2)
        ]
        assert lists[1][:5] == lists[0] and len(set(lists[1])) == 7
    table = (tmp_path / "parts/results.md").read_text().splitlines()
    assert table[0] == "| labeled images | inconsistency | random |"
    for line, (one, other) in zip(table[3:], (parts[1:3], parts[3:5]), strict=True):
        scores = [f"{float(row['miou']):.2f}" for row in (one, other)]
        assert line == f"| {one['labeled']} | {scores[0]} | {scores[1]} |"

    # Further seeds and strategies join; another budget is another simulation.
    more = ("--seeds", 2, "--rounds", 1, "--strategy", "random")
    done = launch.ok(*command[:4], 2, *command[7:], *more, "--output", "parts")
    assert [row["seed"] for row in rows(tmp_path / "parts/results.csv")] == ["0", "0", "1", "1"]
    assert "±" in (tmp_path / "parts/results.md").read_text()
    words = ["budget: 2 -> 1", "--output"]
    another = ("out/run", "--simulate", "--budget", 1, "--views", 2, "--output", "parts")
    refuses("select", *another, words=words)


@pytest.mark.slow
def test_images_of_a_target(config: Path, launch: Launcher, tmp_path: Path) -> None:
    launch.ok("train_uda", "--config", config, "--source", "gta5", "--iterations", 2, *RUN)
    done = launch.ok(TOOL, "out/run", "--budget", 3, "--views", 2)
    assert f"3 of 12 images are chosen; {tmp_path}/out/run-select: " in done.out
    chosen = (tmp_path / "out/run-select/labeled.txt").read_text().splitlines()
    assert len(set(chosen)) == 3
    few = ("--labeled-target", "out/run-select/labeled.txt", "--output", "out", "--name", "few")
    launch.ok("train_uda", "--config", config, "--source", "gta5", "--iterations", 1, *few)
    assert sorted((tmp_path / "out/few/target.txt").read_text().splitlines()) == sorted(chosen)
    done = launch.ok(TOOL, "out/few", "--budget", 12, "--views", 1)
    assert "9 of 9 images are chosen" in done.out

    simulated = ("--simulate", "--budget", 2, "--rounds", 2, "--views", 1, "--output", "made")
    launch.ok(TOOL, "out/run", *simulated, "--strategy", "entropy", "--seeds", 2)
    found = rows(tmp_path / "made/results.csv")
    assert [row["labeled"] for row in found] == 2 * ["0", "2", "4"]
    for row in (found[2], found[5]):
        assert len((tmp_path / row["run"] / "target.txt").read_text().splitlines()) == 4
