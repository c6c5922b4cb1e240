"""Processes that read images and hang or die: an error soon, whoever waits for them."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import yaml

from mixseg.data import streams
from tests.end_to_end.conftest import TINY
from tests.end_to_end.processes import TOOLS, Finished, Launcher, Running, start_group

SHORT = """
import runpy, sys
import mixseg.data.streams
import mixseg.evaluation.evaluator

tool = sys.argv.pop(1)
for module in (mixseg.data.streams, mixseg.evaluation.evaluator):
    module.WORKER_TIMEOUT = 2.0
runpy.run_path(tool, run_name="__main__")
"""
"""A tool that waits for two seconds where it otherwise waits for a minute."""


@pytest.fixture
def impatient(tmp_path: Path) -> Path:
    script = tmp_path / "impatient.py"
    script.write_text(SHORT)
    return script


def loaders(process: Running) -> list[int]:
    """The processes that a process has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.is_file():
        pytest.skip("this kernel does not list the children of a process")
    return [int(number) for number in children.read_text().split()]


def error_line(done: Finished) -> str:
    """The one line for people; besides it torch may complain while it takes its loader apart."""
    assert done.code == 1, done.text
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "mixseg" not in done.err.replace(line, ""), done.text
    return line


def one_error(done: Finished, *fragments: str) -> None:
    line = error_line(done)
    for fragment in (*fragments, "Try fewer --workers"):
        assert fragment in line, done.text


def test_nobody_waits_longer_than_a_minute() -> None:
    assert 0 < streams.WORKER_TIMEOUT <= 60


def test_one_that_dies_ends_all_processes_of_a_run(
    config: Path, launch: Launcher, tmp_path: Path
) -> None:
    flags = ("--config", config, "--output", "out", "--name", "run", "--iterations", 100_000)
    processes = start_group(launch, "train_ssl", *flags, "--workers", 1, cwd=tmp_path)
    processes[0].until((tmp_path / "out" / "run" / "checkpoints" / "step-00000002").is_dir)
    os.kill(loaders(processes[1])[0], signal.SIGKILL)
    first, second = (process.wait(60) for process in processes)
    # The first speaks for all, unless the signal has met the other where it works by itself.
    speaker = first if "DataLoader worker" in first.err else second
    assert "DataLoader worker" in error_line(speaker)
    for one in (first, second):
        assert one.code == 1, one.text
        assert "Traceback" not in one.err or "mixseg" not in one.err, one.text
    if speaker is second:
        assert "another process of this run has ended" in error_line(first)
    else:
        assert "error: " not in second.err, second.text


@pytest.fixture
def files(launch: Launcher, tmp_path: Path) -> Path:
    """Settings of an endless run on scenes in files."""
    flags = ("--out", "data", "--images", 12, "--val-images", 3, "--size", "64x128")
    assert launch("make_demo", *flags, cwd=tmp_path).code == 0
    data = {**TINY["data"], "dataset": "cityscapes", "root": "data", "workers": 1}
    path = tmp_path / "files.yaml"
    path.write_text(yaml.safe_dump(TINY | {"data": data}))
    return path


def silence(folder: Path) -> None:
    """Let every image below a folder be on a disk that does not answer."""
    for image in folder.rglob("*.png"):
        image.unlink()
        os.mkfifo(image)  # to open it takes until somebody writes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "work"), [("train", "loading images of the"), ("val", "reading images of")]
)
def test_one_that_hangs_in_a_run(
    split: str, work: str, files: Path, impatient: Path, launch: Launcher, tmp_path: Path
) -> None:
    flags = ("--config", files, "--output", "out", "--name", "run", "--iterations", 100_000)
    process = launch.start(impatient, TOOLS / "train_ssl.py", *flags, cwd=tmp_path)
    process.until((tmp_path / "out" / "run" / "checkpoints" / "step-00000002").is_dir)
    process.kill(signal.SIGSTOP)
    silence(tmp_path / "data" / "leftImg8bit" / split)
    process.kill(signal.SIGCONT)
    done = process.wait()
    one_error(done, work, "timed out after 2", "The run is saved at step")
    # The steps since the last checkpoint that was due are not lost.
    (step,) = re.findall(r"saved at step (\d+)", done.err)
    assert (tmp_path / f"out/run/checkpoints/step-{int(step):08}").is_dir()


def test_one_that_dies_in_an_evaluation(files: Path, launch: Launcher, tmp_path: Path) -> None:
    flags = ("--config", files, "--output", "out", "--name", "run", "--iterations", 1)
    done = launch("train_ssl", *flags, "--workers", 0, cwd=tmp_path)
    assert done.code == 0, done.text
    silence(tmp_path / "data" / "leftImg8bit" / "val")
    process = launch.start("evaluate", "out/run", "--workers", 1, cwd=tmp_path)
    process.until(lambda: loaders(process))
    os.kill(loaders(process)[0], signal.SIGKILL)
    one_error(process.wait(), "reading images of", "DataLoader worker")
