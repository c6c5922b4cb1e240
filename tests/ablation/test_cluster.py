"""Runs as an array job, on programs that stand in for SLURM's: real processes of this machine."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mixseg.ablation.cluster import SETTINGS, SlurmArray
from mixseg.ablation.grid import Grid, load_grid
from mixseg.ablation.runs import Job, plan
from mixseg.config.resolve import resolve_settings
from mixseg.errors import ConfigError, MixsegError
from mixseg.terminal import shell_line
from tests.end_to_end.conftest import TINY
from tests.end_to_end.processes import REPOSITORY

FAKE = REPOSITORY / "tests" / "slurm" / "fake"

ACTS = (
    "a\ntouch ACTED #",
    "a\n#SBATCH --uid=0",
    "a\rtouch ACTED",
    "a\u2028touch ACTED",
    "a\udcfftouch",
    "$(touch ACTED)",
    "; touch ACTED;",
    "'; touch ACTED; '",
    '"; touch ACTED; "',
    "> ACTED",
    "# ACTED",
    "--wrap=touch ACTED",
    "${ACTED:=1} * ~ {a,b} !! %j \\",
    "it's a «folder» of 道",
)
"""Words that a shell or SLURM would act on if they were not quoted, and an innocent one."""


def array(output: Path, at_once: int | None = None, **flags: object) -> SlurmArray:
    return SlurmArray(output, {name: one[2] for name, one in SETTINGS.items()} | flags, at_once)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the queue."""
    folder = tmp_path / "queue"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{FAKE}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    return folder


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.02)


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    (tmp_path / "configs/ablations").mkdir(parents=True)
    (tmp_path / "configs/tiny.yaml").write_text(yaml.safe_dump(TINY | {"validation": {"every": 0}}))
    path = tmp_path / "configs/ablations/small.yaml"
    path.write_text(
        "title: Small\nbase: tiny.yaml\nseeds: 1\ndefault: long\nrows:\n"
        "  long: {set: {method: supervised, training.iterations: 60}}\n"
        "  no data: {set: {data.dataset: camvid, data.root: /nowhere}}\n"
    )
    return load_grid(path)


@pytest.mark.slow
def test_runs_are_submitted_once_requeued_and_failed_ones_are_told(
    grid: Grid, slurm: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    output = tmp_path / "out"
    output.mkdir()

    def jobs(**changes: object) -> tuple[Job, ...]:
        return plan(grid, output, [0], changes)

    def submit(given: tuple[Job, ...], dry: bool = False) -> list[str]:
        said.clear()
        array(output, 2).submit(given, said.append, dry=dry)
        return said

    assert all("to submit: sbatch" in line for line in submit(jobs(), dry=True))
    assert not list(slurm.iterdir())
    script, commands = (output / name for name in ("array.sh", "array.txt"))
    assert "#SBATCH --array=0-1%2\n" in script.read_text()
    assert len(commands.read_text().splitlines()) == 2
    assert all("Submitted batch job 7" in line for line in submit(jobs()))

    # A second call submits nothing, and other settings do not get under a run that waits.
    before = commands.stat().st_mtime_ns
    log = output / "long-seed0/metrics.jsonl"
    until(lambda: log.is_file() and log.read_text().count("\n") > 2)
    assert submit(jobs())[0] == "long, seed 0: running here, submitted before"
    with pytest.raises(ConfigError, match="optimizer"):
        submit(jobs(**{"optimizer.lr": 0.5}))
    assert commands.stat().st_mtime_ns == before

    # Before its limit the run is told to save; it ends, and its job requeues itself.
    (process,) = slurm.glob("pid.*.0")
    os.kill(int(process.read_text()), signal.SIGUSR2)
    until(lambda: ", from step " in (output / "long-seed0.log").read_text())
    errors = array(output).wait(jobs(), said.append)
    assert list(errors) == [("no data", 0)] and "/nowhere" in errors["no data", 0]
    assert jobs()[0].done and "long, seed 0: done" in said

    # What failed is submitted again, alone.
    assert submit(jobs())[0] == "long, seed 0: done before"
    assert len(commands.read_text().splitlines()) == 1
    assert list(array(output).wait(jobs(), said.append)) == [("no data", 0)]


def test_a_job_that_never_began(grid: Grid, slurm: Path, tmp_path: Path) -> None:
    (job, _) = plan(grid, tmp_path, [0], {})
    job.log.write_text("an error of an earlier job\n")
    cluster = array(tmp_path)
    cluster._write([job])
    (error,) = cluster.wait([job], print).values()
    assert "cancelled" in error
    with job.log.open("a") as log:
        log.write(
            "slurmstepd: error: *** STEP 1 CANCELLED AT 7 DUE TO JOB REQUEUE ***\nsome words\n"
        )
        log.write("srun: error: task 0: Exited with exit code 1\n")
    assert cluster.wait([job], print) == {("long", 0): "some words"}
    with job.log.open("a") as log:
        log.write("slurmstepd-n1: error: *** STEP 1 CANCELLED AT 9 DUE TO TIME LIMIT ***\nmore\n")
    assert cluster.wait([job], print) == {("long", 0): "STEP 1 CANCELLED AT 9 DUE TO TIME LIMIT"}


def test_what_is_refused(
    grid: Grid, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, minutes in (("90", 90), ("04:00:01", 241), ("2-12:30:00", 3630), ("100:00:00", 6000)):
        assert array(tmp_path, time=text).minutes == minutes
    for name, value, named in (
        ("time", "soon", "time"),
        ("time", "0", "notice"),
        ("notice", 7201, "notice"),
        ("partition", "a\n#SBATCH --uid=0", "partition"),
        ("account", "a b", "account"),
    ):
        with pytest.raises(ConfigError, match=f"--slurm.{named}"):
            array(tmp_path, **{name: value})
    (tmp_path / "bin").mkdir()
    for name, line in (("squeue", "exit 0"), ("sbatch", "echo invalid partition >&2; exit 1")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(MixsegError, match="invalid partition"):
        array(tmp_path).submit(plan(grid, tmp_path, [0], {}), print, dry=False)


@pytest.mark.parametrize("word", ACTS)
def test_no_word_of_a_script_acts(
    word: str, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bash runs the script of a job; srun writes down what it gets."""
    stub = tmp_path / "srun"
    stub.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("sys.executable", word)
    settings = resolve_settings([], {"data.root": word, "model.weights": word})
    output = tmp_path / word.replace("/", "-")
    job = Job("row", 0, output / "row-seed0", settings)
    job.prepare()
    assert resolve_settings([job.preset], {}) == settings
    flags = {"qos": word} if re.fullmatch("[!-~]+", word) else {}
    cluster = array(output, memory=1.5, **flags)
    cluster._write([job])
    head = [line for line in cluster.script.read_text().split("\n") if line.startswith("#")][1:-1]
    assert all(re.match(r"#SBATCH '?--[a-z-]+(=|$)", line) for line in head)
    assert not any(re.match("#SBATCH '?--(uid|wrap)", line) for line in head)
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "0"}
    subprocess.run(["bash", str(cluster.script)], cwd=cwd, env=environment, check=True)
    assert list(cwd.iterdir()) == []
    written = job.log.read_bytes().partition(b"\n")[2]
    command = ["--cpus-per-task=4", *job.command]
    assert written == b"".join(os.fsencode(one) + b"\0" for one in command)

    # The same holds for the line that a dry run shows.
    line = shell_line(job.command)
    assert line.isprintable()
    script = f"cd {shlex.quote(str(cwd))}; printf '%s\\0' {line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout == b"".join(os.fsencode(one) + b"\0" for one in job.command)
