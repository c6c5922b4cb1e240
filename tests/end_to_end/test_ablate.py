"""``tools/ablate.py`` as a person runs it."""

from __future__ import annotations

import json
import shlex
import signal
import statistics
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.processes import Finished, Launcher, refused, tree


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
    run = launch.start("train_supervised", *arguments, cwd=tmp_path).wait()
    assert run.code == 0, run.text
    settings = yaml.safe_load((tmp_path / "out/supervised-seed0/config.yaml").read_text())
    assert (settings["method"], settings["optimizer"]["lr"]) == ("supervised", 0.02)
    again = ablate(launch, tmp_path, grid, "--seeds", 1, "--dry-run", "--lr", 0.02)
    assert f"\n  (done) {line.strip()}\n" in again.out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: int, grid: Path, launch: Launcher, tmp_path: Path) -> None:
    arguments = (grid, "--seeds", 1, "--iterations", 30)
    process = launch.start("ablate", *arguments, "--output", "out", cwd=tmp_path)
    metrics = tmp_path / "out/supervised-seed0/metrics.jsonl"
    process.until(lambda: metrics.is_file() and metrics.stat().st_size)
    # A terminal sends Ctrl-C to all of its processes, a scheduler the other signal to the first.
    process.kill(number, group=number == signal.SIGINT)
    stopped = process.wait()
    assert stopped.code == 130, stopped.text
    assert "the same command goes on with it" in stopped.out
    assert not (tmp_path / "out/with-cutmix-seed0").exists()
    (run,) = (tmp_path / "out").glob("*-seed0")
    assert list((run / "checkpoints").glob("step-*")), "the run has saved before it ended"
    done = ablate(launch, tmp_path, *arguments)
    assert done.code == 0, done.text


def test_refusals(grid: Path, launch: Launcher, tmp_path: Path) -> None:
    for arguments, message in (
        ((grid, "--seeds", 0), "--seeds: expected"),
        ((grid, "--jobs", 0), "--jobs: expected"),
        ((grid, "--seed", 3), "an ablation gives each run its own"),
        ((grid, "--rows", "supervisd"), "unknown row 'supervisd'"),
        ((grid, "--base", "gone.yaml"), "gone.yaml: there is no such file"),
        (("gone.yaml",), "gone.yaml"),
        ((grid, "--launcher", "slrum"), "Did you mean 'slurm'? Choices: local, slurm"),
        ((grid, "--mixer", "cutmix", "--method", "supervised"), "are the same with --"),
        (
            (grid, "--mixing.sigma", "[4,8]"),
            "--mixing.sigma does nothing without --mixer cowmix; no row",
        ),
        ((grid, "--config", "a.yaml"), "--config: an ablation takes the preset of its rows by"),
        (("nowhere.yaml",), "nowhere.yaml: there is no such grid; those of"),
        ((grid, "--set", "optimizer.lrr=1"), "Did you mean 'optimizer.lr'?"),
        ((grid, "--no-wait"), "--no-wait does nothing without --launcher slurm"),
        ((grid, "--slurm.cores", 2), "--slurm.cores does nothing without --launcher slurm"),
        ((grid, "--launcher", "slurm", "--slurm.cores", 0), "--slurm.cores: expected"),
        ((grid, "--launcher", "slurm", "--slurm.tim", 5), "Did you mean '--slurm.time'"),
    ):
        refused(ablate(launch, tmp_path, *arguments), message)
    without_slurm = launch("ablate", grid, "--launcher", "slurm", cwd=tmp_path, PATH="/nowhere")
    refused(without_slurm, "there is no sbatch here")
    assert not (tmp_path / "out").exists()


def test_a_baseline_alone_takes_the_flags_of_the_table(
    grid: Path, launch: Launcher, tmp_path: Path
) -> None:
    grid.write_text(grid.read_text().replace("default: with CutMix", "default: supervised"))
    only = ("--rows", "supervised", "--dry-run", "--teacher.buffers", "own")
    done = ablate(launch, tmp_path, grid, *only)
    assert done.code == 0, done.text
    assert "note: --teacher.buffers has no effect in any row\n" in done.out
    refused(ablate(launch, tmp_path, grid, *only, "--teacher.buffrs", "own"), "--teacher.buffers")


def test_files_that_are_not_there(grid: Path, launch: Launcher, tmp_path: Path) -> None:
    for flag in ("--data-root", "--unlabeled", "--weights"):
        options = (grid, "--dataset", "camvid", flag, "nowhere", "--output", flag[2:])
        refused(launch("ablate", *options, cwd=tmp_path), "row 'supervised'", "nowhere")
        assert not (tmp_path / flag[2:]).exists()
        assert launch("ablate", *options, "--dry-run", cwd=tmp_path).code == 0
