"""``tools/ablate.py --launcher slurm`` on a SLURM that is started for it (``tests/slurm``)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.processes import (
    REPOSITORY,
    Launcher,
    Running,
    assert_same_tensors,
    metrics,
)

pytestmark = pytest.mark.slow

SCRIPT = REPOSITORY / "tests" / "slurm" / "start.sh"
CANNOT = 3
"""Exit code of the script where something is missing."""


class Slurm:
    """Its commands."""

    def __init__(self, folder: Path) -> None:
        self.variables = {"SLURM_CONF": str(folder / "slurm.conf")}

    def __call__(self, *command: str) -> str:
        environment = os.environ | self.variables
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def states(self) -> dict[str, str]:
        """Id of a task -> its state."""
        lines = self("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    # Not below pytest's own folder, which only its owner may enter: munge refuses such a socket.
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    command = [SCRIPT, folder, str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == CANNOT:
        pytest.skip(f"no SLURM here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    yield Slurm(folder)
    subprocess.run([SCRIPT, "--stop", folder], check=True, timeout=120)
    assert not folder.exists()


@pytest.fixture
def ablate(
    grid: Path, slurm: Slurm, launch: Launcher, tmp_path: Path
) -> Iterator[Callable[..., Running]]:
    def start(*arguments: object) -> Running:
        return launch.start(
            *("ablate", grid, "--output", "out", "--launcher", "slurm", "--seeds", 1),
            *("--slurm.gpus", 0, "--slurm.cores", 1, "--slurm.time", 20),
            # So that what is found after an interruption was saved because of it.
            *("--checkpoints.every", 1000, "--validation.every", 50, "--training.log_every", 1),
            *arguments,
            **slurm.variables,
        )

    yield start
    slurm("scancel", "--user", str(os.getuid()))
    until(lambda: not slurm.states())


def until(condition: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.2)


def steps(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def test_one_array_job_and_a_failing_run(
    grid: Path, ablate: Callable[..., Running], slurm: Slurm, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    grid.write_text(
        grid.read_text()
        + "  no data: {set: {data.dataset: camvid, data.root: empty}, published: 1}\n"
    )
    memory = ("--slurm.memory", 1.5, "--slurm.partition", "test", "--jobs", 1)
    process = ablate(*memory)
    until(lambda: len(slurm.states()) == 3)
    assert {task.split("_")[0] for task in slurm.states()} == {min(slurm.states()).split("_")[0]}
    shown = slurm("scontrol", "show", "job", min(slurm.states()))
    for said in ("ArrayTaskThrottle=1", "Requeue=1", "TimeLimit=00:20:00", "MinMemoryNode=1.50G"):
        assert said in shown, shown
    at_once = 0
    while process.poll() is None:
        at_once = max(at_once, list(slurm.states().values()).count("RUNNING"))
        time.sleep(0.5)
    assert at_once == 1
    done = process.wait()
    assert done.code == 1, done.text
    rows = {
        one["name"]: one for one in json.loads((tmp_path / "out/table.json").read_text())["rows"]
    }
    assert "empty/train is not a folder" in rows["no data"]["error"]
    for name in ("supervised", "with CutMix"):
        assert rows[name]["metrics"]["mIoU"]["mean"] is not None
    again = ablate("--rows", "supervised").wait()
    assert again.code == 0 and again.out.count("done before") == 2, again.text


def test_requeued_runs_go_on_where_they_were(
    ablate: Callable[..., Running], slurm: Slurm, launch: Launcher, tmp_path: Path
) -> None:
    arguments = ("--rows", "supervised", "--iterations", 80)
    first = ablate(*arguments, "--no-wait").wait()
    assert first.code == 0 and "the jobs stay in the queue" in first.out, first.text
    assert len(slurm.states()) == 2
    process = ablate(*arguments)
    runs = [tmp_path / "out" / name for name in ("supervised-seed0", "with-cutmix-seed0")]
    until(lambda: all(steps(run) > 5 for run in runs))
    assert len(slurm.states()) == 2, "what is in the queue is not submitted twice"
    for task in slurm.states():
        slurm("scontrol", "requeue", task)
    done = process.wait(600)
    assert done.code == 0, done.text
    assert done.out.count("submitted before") == 2 and done.out.count(": done") == 2
    for run in runs:
        log = run.with_suffix(".log").read_text()
        stopped = re.search(r"stopped at step (\d+), saved", log)
        assert stopped is not None and f", from step {stopped[1]}" in log, log
    # They compute what a run computes that nobody stopped.
    preset = runs[1].with_suffix(".yaml")
    name = ("--output", "out", "--name", "undisturbed")
    launch.ok("train_ssl", "--config", preset, *name)
    last = [run / "checkpoints/step-00000080" for run in (runs[1], tmp_path / "out/undisturbed")]
    assert_same_tensors(*last)
    assert metrics(runs[1]) == metrics(tmp_path / "out/undisturbed")


def test_a_run_longer_than_its_time_goes_on(
    ablate: Callable[..., Running], slurm: Slurm, tmp_path: Path
) -> None:
    # Signals may come a minute early: SLURM looks at its clock that seldom.
    time_limit = ("--slurm.time", 2, "--slurm.notice", 30)
    done = ablate("--rows", "with CutMix", "--iterations", 100000, *time_limit, "--no-wait").wait()
    assert done.code == 0, done.text
    log = tmp_path / "out/with-cutmix-seed0.log"
    until(lambda: log.is_file() and ", from step " in log.read_text(), 300)
    assert re.search(r"stopped at step \d+, saved", log.read_text()), log.read_text()


def test_cancelled_jobs_are_told_and_submitted_again(
    ablate: Callable[..., Running], slurm: Slurm, tmp_path: Path
) -> None:
    arguments = ("--rows", "with CutMix", "--iterations", 1000)
    process = ablate(*arguments)
    run = tmp_path / "out/with-cutmix-seed0"
    until(lambda: steps(run) > 5)
    (task,) = slurm.states()
    slurm("scancel", task)
    done = process.wait(120)
    assert done.code == 1, done.text
    assert re.search(r"with CutMix, seed 0: .* CANCELLED AT", done.out), done.text
    assert not slurm.states(), "who cancels a job does not find it in the queue again"
    again = ablate(*arguments, "--no-wait").wait()
    assert again.code == 0 and "Submitted batch job" in again.out, again.text
    until(lambda: ", from step " in run.with_suffix(".log").read_text())


def test_ctrl_c_leaves_the_jobs_alone(
    ablate: Callable[..., Running], slurm: Slurm, tmp_path: Path
) -> None:
    process = ablate("--iterations", 100000)
    until(lambda: process.out.is_file() and "Submitted" in process.out.read_text())
    process.kill(2, group=True)
    done = process.wait()
    assert done.code == 130, done.text
    look = re.search(r"look: (squeue [^;]+)", done.out)
    cancel = re.search(r"cancel: (scancel [^;]+)", done.out)
    assert look is not None and cancel is not None
    assert len(slurm(*look[1].split(), "--noheader", "--array").splitlines()) == 2
    slurm(*cancel[1].split())
    until(lambda: not slurm.states())


def test_what_slurm_refuses_is_told(ablate: Callable[..., Running], tmp_path: Path) -> None:
    done = ablate("--slurm.partition", "nowhere").wait()
    assert done.code == 1 and "sbatch fails" in done.err, done.text
    assert "invalid partition" in done.err and "Traceback" not in done.text
    assert ablate("--no-wait").wait().code == 0
