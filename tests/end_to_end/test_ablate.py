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
from tests.end_to_end.processes import Launcher, files_below, refused, refuses, refuses_each

OUT = ("--output", "out")
NO_DATA = "  no data: {set: {data.dataset: camvid, data.root: empty}, published: 1}\n"
"""A row that fails as its folder is empty."""


@pytest.mark.slow
def test_a_table_that_goes_on_where_it_stopped(
    grid: Path, launch: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    grid.write_text(grid.read_text() + NO_DATA)
    one = launch("ablate", grid, *OUT, "--jobs", 2, "--seeds", 1)
    assert one.code == 1, one.text
    (*_, failed) = json.loads((tmp_path / "out/table.json").read_text())["rows"]
    assert failed["metrics"]["mIoU"]["mean"] is None
    assert "empty/train" in failed["error"]

    trained = ("--rows", "supervised", "with CutMix")
    done = launch.ok("ablate", grid, *OUT, "--jobs", 2, *trained)
    assert done.out.count("done before") == 2
    rows = json.loads((tmp_path / "out/table.json").read_text())["rows"]
    for row, folder in zip(rows, ("supervised", "with-cutmix"), strict=True):
        runs = [tmp_path / f"out/{folder}-seed{seed}" for seed in (0, 1)]
        summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
        scores = [100 * summary["last"]["student"]["miou"] for summary in summaries]
        measured = row["metrics"]["mIoU"]
        assert measured["scores"] == {"0": scores[0], "1": scores[1]}
        assert measured["mean"] == pytest.approx(statistics.mean(scores))
        assert f"{statistics.mean(scores):.2f} ± {statistics.stdev(scores):.2f}" in done.out
        method = yaml.safe_load((runs[1] / "config.yaml").read_text())["method"]
        assert method == ("supervised" if folder == "supervised" else "semi_supervised")

    # Other settings do not get into the table.
    words = ["supervised-seed0", "training.iterations: 2 -> 3", "--output"]
    refuses("ablate", grid, *OUT, *trained, "--iterations", 3, words=words)


def test_a_dry_run_says_what_would_run(grid: Path, launch: Launcher, tmp_path: Path) -> None:
    grid.write_text(grid.read_text() + "  others: {cited: 47.25, against: supervised}\n")
    command = ("ablate", grid, *OUT, "--seeds", 1, "--dry-run", "--lr", 0.02)
    done = launch.ok(*command)
    assert "\n  mixing.mixer: classmix -> cutmix\n" in done.out
    assert "others, against supervised\n  cited: mIoU 47.25; not trained" in done.out
    presets = {"supervised-seed0.yaml", "with-cutmix-seed0.yaml"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == presets
    # A printed command is a run of the table.
    (line,) = (line for line in done.out.splitlines() if "supervised-seed0 " in line)
    _, _, module, name, *arguments = shlex.split(line)
    assert (module, name) == ("mixseg", "supervised")
    launch.ok("train_supervised", *arguments)
    settings = yaml.safe_load((tmp_path / "out/supervised-seed0/config.yaml").read_text())
    assert (settings["method"], settings["optimizer"]["lr"]) == ("supervised", 0.02)
    assert f"\n  (done) {line.strip()}\n" in launch(*command).out


@pytest.mark.slow
def test_interrupted(grid: Path, launch: Launcher, tmp_path: Path) -> None:
    command = ("ablate", grid, *OUT, "--seeds", 1, "--iterations", 30)
    process = launch.start(*command)
    metrics = tmp_path / "out/supervised-seed0/metrics.jsonl"
    process.until(lambda: metrics.is_file() and metrics.stat().st_size)
    process.kill(signal.SIGINT, group=True)  # as a terminal does
    stopped = process.wait()
    assert stopped.code == 130, stopped.text
    assert "the same command goes on with it" in stopped.out
    assert not (tmp_path / "out/with-cutmix-seed0").exists()
    (run,) = (tmp_path / "out").glob("*-seed0")
    assert list((run / "checkpoints").glob("step-*")), "the run has saved before it ended"
    launch.ok(*command)


REFUSED = {
    "{grid} --seeds 0": "--seeds",
    "{grid} --jobs 0": "--jobs",
    "{grid} --seed 3": "--seed",
    "{grid} --rows supervisd": "'supervisd'",
    "{grid} --base gone.yaml": "gone.yaml",
    "gone.yaml": "gone.yaml",
    "{grid} --launcher slrum": "'slurm'",
    "{grid} --mixer cutmix --method supervised": "'supervised' and 'with CutMix'",
    "{grid} --mixing.sigma [4,8]": "--mixer cowmix",
    "{grid} --config a.yaml": "--base",
    "{grid} --set optimizer.lrr=1": "'optimizer.lr'",
    "{grid} --no-wait": "--launcher slurm",
    "{grid} --slurm.cores 2": "--launcher slurm",
    "{grid} --launcher slurm --slurm.cores 0": "--slurm.cores",
    "{grid} --launcher slurm --slurm.tim 5": "'--slurm.time'",
    "{grid} --rows supervised --dry-run --teacher.buffrs own": "--teacher.buffers",
}


def test_refusals(grid: Path, launch: Launcher, tmp_path: Path) -> None:
    refuses_each("ablate", REFUSED, *OUT, grid=grid)
    for flag in ("--data-root", "--unlabeled", "--weights"):
        given = (grid, "--dataset", "camvid", flag, "nowhere", *OUT)
        refuses("ablate", *given, words=["row 'supervised'", "nowhere"])
    assert not files_below(tmp_path / "out")
    # A machine that only looks at a table needs no files.
    assert COMMANDS["ablate"].load()([*map(str, given), "--dry-run"]) == 0
    no_cluster = launch("ablate", grid, "--launcher", "slurm", *OUT, PATH="/nowhere")
    refused(no_cluster, "sbatch")


def test_a_baseline_alone_takes_the_flags_of_the_table(grid: Path, launch: Launcher) -> None:
    grid.write_text(grid.read_text().replace("default: with CutMix", "default: supervised"))
    only = ("--rows", "supervised", "--dry-run", "--teacher.buffers", "own")
    done = launch.ok("ablate", grid, *OUT, *only)
    assert "note: --teacher.buffers has no effect in any row\n" in done.out
