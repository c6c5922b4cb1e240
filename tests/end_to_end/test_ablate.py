"""``tools/ablate.py`` as a person runs it."""

from __future__ import annotations

import json
import shlex
import signal
import statistics
from pathlib import Path

import pytest
import yaml

from mixseg.cli import COMMANDS
from tests.end_to_end.processes import Finished, Launcher, refused, refused_saying, tree


def ablate(launch: Launcher, cwd: Path, *arguments: object) -> Finished:
    """An ablation to its end: each of its runs starts an interpreter."""
    return launch.start("ablate", *arguments, "--output", "out", cwd=cwd).wait(400)


@pytest.mark.slow
def test_a_table_that_goes_on_where_it_stopped(
    grid: Path, launch: Launcher, tmp_path: Path
) -> None:
    one = ablate(launch, tmp_path, grid, "--jobs", 2, "--seeds", 1)
    assert one.code == 0, one.text
    done = ablate(launch, tmp_path, grid, "--jobs", 2)
    assert done.code == 0, done.text
    assert done.out.count("done before") == 2
    content = json.loads((tmp_path / "out/table.json").read_text())
    for row, folder in zip(content["rows"], ("supervised", "with-cutmix"), strict=True):
        scores = [
            100
            * json.loads((tmp_path / f"out/{folder}-seed{seed}/summary.json").read_text())["last"][
                "student"
            ]["miou"]
            for seed in (0, 1)
        ]
        measured = row["metrics"]["mIoU"]
        assert measured["scores"] == {"0": scores[0], "1": scores[1]}
        assert measured["mean"] == pytest.approx(statistics.mean(scores))
        assert f"{statistics.mean(scores):.2f} ± {statistics.stdev(scores):.2f}" in done.out
    methods = [
        yaml.safe_load((tmp_path / f"out/{name}-seed1/config.yaml").read_text())["method"]
        for name in ("supervised", "with-cutmix")
    ]
    assert methods == ["supervised", "semi_supervised"]

    # Other settings do not get into the table.
    before = tree(tmp_path / "out")
    refused(
        ablate(launch, tmp_path, grid, "--iterations", 3),
        *("supervised-seed0", "training.iterations: 2 -> 3", "--output"),
    )
    assert tree(tmp_path / "out") == before


@pytest.mark.slow
def test_a_failed_run_does_not_stop_the_others(
    grid: Path, launch: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    text = grid.read_text() + (
        "  no data: {set: {data.dataset: camvid, data.root: empty}, published: 1}\n"
    )
    grid.write_text(text)
    done = ablate(launch, tmp_path, grid, "--seeds", 1)
    assert done.code == 1, done.text
    rows = {
        row["name"]: row for row in json.loads((tmp_path / "out/table.json").read_text())["rows"]
    }
    means = {name: row["metrics"]["mIoU"]["mean"] for name, row in rows.items()}
    assert means["no data"] is None
    assert "empty/train is not a folder" in rows["no data"]["error"]
    assert means["supervised"] is not None
    assert means["with CutMix"] is not None


def test_a_dry_run_says_what_would_run(grid: Path, launch: Launcher, tmp_path: Path) -> None:
    grid.write_text(grid.read_text() + "  others: {cited: 47.25, against: supervised}\n")
    done = ablate(launch, tmp_path, grid, "--seeds", 1, "--dry-run", "--lr", 0.02)
    assert done.code == 0, done.text
    assert "\n  mixing.mixer: classmix -> cutmix\n" in done.out
    assert "others, against supervised\n  cited: mIoU 47.25; not trained" in done.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "supervised-seed0.yaml",
        "with-cutmix-seed0.yaml",
    }
    # A printed command is a run of the table.
    (line,) = (line for line in done.out.splitlines() if "supervised-seed0 " in line)
    _, _, module, command, *arguments = shlex.split(line)
    assert (module, command) == ("mixseg", "supervised")
    run = launch.start("train_supervised", *arguments).wait()
    assert run.code == 0, run.text
    settings = yaml.safe_load((tmp_path / "out/supervised-seed0/config.yaml").read_text())
    assert (settings["method"], settings["optimizer"]["lr"]) == ("supervised", 0.02)
    again = ablate(launch, tmp_path, grid, "--seeds", 1, "--dry-run", "--lr", 0.02)
    assert f"\n  (done) {line.strip()}\n" in again.out


@pytest.mark.slow
def test_interrupted(grid: Path, launch: Launcher, tmp_path: Path) -> None:
    arguments = (grid, "--seeds", 1, "--iterations", 30)
    process = launch.start("ablate", *arguments, "--output", "out")
    metrics = tmp_path / "out/supervised-seed0/metrics.jsonl"
    process.until(lambda: metrics.is_file() and metrics.stat().st_size)
    process.kill(signal.SIGINT, group=True)  # as a terminal does
    stopped = process.wait()
    assert stopped.code == 130, stopped.text
    assert "the same command goes on with it" in stopped.out
    assert not (tmp_path / "out/with-cutmix-seed0").exists()
    (run,) = (tmp_path / "out").glob("*-seed0")
    assert list((run / "checkpoints").glob("step-*")), "the run has saved before it ended"
    done = ablate(launch, tmp_path, *arguments)
    assert done.code == 0, done.text


REFUSED: dict[str, str] = {
    "GRID --seeds 0": "--seeds",
    "GRID --jobs 0": "--jobs",
    "GRID --seed 3": "--seed",
    "GRID --rows supervisd": "'supervisd'",
    "GRID --base gone.yaml": "gone.yaml",
    "gone.yaml": "gone.yaml",
    "GRID --launcher slrum": "'slurm'",
    "GRID --mixer cutmix --method supervised": "'supervised' and 'with CutMix'",
    "GRID --mixing.sigma [4,8]": "--mixer cowmix",
    "GRID --config a.yaml": "--base",
    "GRID --set optimizer.lrr=1": "'optimizer.lr'",
    "GRID --no-wait": "--launcher slurm",
    "GRID --slurm.cores 2": "--launcher slurm",
    "GRID --launcher slurm --slurm.cores 0": "--slurm.cores",
    "GRID --launcher slurm --slurm.tim 5": "'--slurm.time'",
    "GRID --rows supervised --dry-run --teacher.buffrs own": "--teacher.buffers",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refusals(arguments: str, grid: Path, tmp_path: Path) -> None:
    given = arguments.replace("GRID", str(grid)).split()
    refused_saying("ablate", *given, "--output", "out", words=[REFUSED[arguments]])
    assert not (tmp_path / "out").exists()


def test_there_is_no_cluster(grid: Path, launch: Launcher, tmp_path: Path) -> None:
    own = (grid, "--launcher", "slurm", "--output", "out")
    refused(launch("ablate", *own, PATH="/nowhere"), "sbatch")
    assert not (tmp_path / "out").exists()


def test_a_baseline_alone_takes_the_flags_of_the_table(
    grid: Path, launch: Launcher, tmp_path: Path
) -> None:
    grid.write_text(grid.read_text().replace("default: with CutMix", "default: supervised"))
    only = ("--rows", "supervised", "--dry-run", "--teacher.buffers", "own")
    done = ablate(launch, tmp_path, grid, *only)
    assert done.code == 0, done.text
    assert "note: --teacher.buffers has no effect in any row\n" in done.out


def test_files_that_are_not_there(grid: Path, tmp_path: Path) -> None:
    for flag in ("--data-root", "--unlabeled", "--weights"):
        options = (grid, "--dataset", "camvid", flag, "nowhere", "--output", flag[2:])
        refused_saying("ablate", *options, words=["row 'supervised'", "nowhere"])
        assert not (tmp_path / flag[2:]).exists()
    assert COMMANDS["ablate"].load()([*map(str, options), "--dry-run"]) == 0
