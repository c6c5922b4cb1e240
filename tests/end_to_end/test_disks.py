"""Disks that are full, or cannot be written, in the middle of a run and at its start."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mixseg.training.checkpoint import CheckpointStore
from tests.end_to_end.processes import (
    TOOLS,
    Finished,
    Launcher,
    Running,
    assert_same_run,
    group_ok,
    refused,
    start_group,
    tree,
)

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """``mount(folder, *arguments)``, for the length of a test."""
    mounted: list[Path] = []

    def call(folder: Path, *flags: object) -> None:
        done = subprocess.run(
            ["mount", *map(str, flags), str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    if os.geteuid() or not Path("/proc/mounts").exists():
        pytest.skip("only root can mount a file system")
    yield call
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.fixture
def disk(mount: Mount, tmp_path: Path) -> Path:
    """A disk of 64 MiB; a run of these tests takes about 20."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
    return folder


def fill(disk: Path) -> Path:
    """Write until there is no room at all; returns the file to remove."""
    path = disk / "others"
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return path


def at_step_2(process: Running, run: Path) -> None:
    """Hold a run that has saved its second step, of eight."""
    process.until((run / "checkpoints" / "step-00000002").is_dir)
    process.kill(signal.SIGSTOP)


def says_what_to_do(done: Finished, run: Path, reason: str) -> None:
    refused(done, f"error: {run}", reason, "--resume", code=1)
    checkpoint, problems = CheckpointStore(run / "checkpoints").latest()
    assert checkpoint is not None and not problems
    assert 2 <= checkpoint.state["step"] < 8


def start(launch: Launcher, config: Path, output: Path) -> Running:
    return launch.start("train_ssl", "--config", config, "--output", output, "--name", "run")


def test_a_disk_that_becomes_full(
    disk: Path, reference: Path, launch: Launcher, config: Path
) -> None:
    run = disk / "run"
    process = start(launch, config, disk)
    at_step_2(process, run)
    others = fill(disk)
    process.kill(signal.SIGCONT)
    says_what_to_do(process.wait(), run, "No space left on device")
    others.unlink()
    launch.ok("train_ssl", "--resume", run)
    assert_same_run(reference, run, settings=False)


@pytest.mark.slow
def test_a_full_disk_ends_all_processes_of_a_run(
    disk: Path, launch: Launcher, config: Path
) -> None:
    flags = ("--config", config, "--output", disk, "--name", "run")
    processes = start_group(launch, "train_ssl", *flags)
    at_step_2(processes[0], disk / "run")
    others = fill(disk)
    processes[0].kill(signal.SIGCONT)
    first, second = (one.wait() for one in processes)
    says_what_to_do(first, disk / "run", "No space left on device")
    assert (second.code, second.err) == (1, ""), second.text
    others.unlink()
    group_ok(launch, "train_ssl", "--resume", disk / "run")


def test_full_and_read_only_at_the_start(
    disk: Path, mount: Mount, launch: Launcher, config: Path
) -> None:
    fill(disk)
    done = start(launch, config, disk).wait()
    refused(done, f"{disk}/.run.new", "No space left on device", code=1)
    assert tree(disk) == ["others"]
    mount(disk, "-o", "remount,ro")
    done = start(launch, config, disk).wait()
    refused(done, f"{disk}/run: cannot be made: Read-only file system", "--output", code=1)


def test_a_folder_that_becomes_read_only(
    mount: Mount, reference: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "out/run"
    process = start(launch, config, tmp_path / "out")
    at_step_2(process, run)
    mount(run / "checkpoints", "--bind", run / "checkpoints")
    mount(run / "checkpoints", "-o", "remount,ro,bind")
    process.kill(signal.SIGCONT)
    says_what_to_do(process.wait(), run, "Read-only file system")
    mount(run, "--bind", run)
    mount(run, "-o", "remount,ro,bind")
    before = tree(run)
    refused(launch("train_ssl", "--resume", run), f"{run}: ", "Read-only file system", code=1)
    assert tree(run) == before
    for folder in (run, run / "checkpoints"):
        subprocess.run(["umount", str(folder)], check=True)
    launch.ok("train_ssl", "--resume", run)
    assert_same_run(reference, run, settings=False)


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_limit_on_the_size_of_files(
    reference: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    """What a full disk is to somebody who cannot mount one: weights do not fit, the log does."""
    run = tmp_path / "out/run"
    process = start(launch, config, tmp_path / "out")
    at_step_2(process, run)
    process.kill(signal.SIGKILL)
    process.wait()
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    limited = launch(script, TOOLS / "train_ssl.py", "--resume", run)
    says_what_to_do(limited, run, "File too large")
    launch.ok("train_ssl", "--resume", run)
    assert_same_run(reference, run, settings=False)
