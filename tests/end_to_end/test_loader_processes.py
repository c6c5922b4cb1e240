"""Processes that read images: an error at once if one dies, patience if one is silent."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.processes import (
    RUN,
    TOOLS,
    Finished,
    Launcher,
    Running,
    metrics,
    start_group,
)

IMPATIENT = """
import os, runpy, sys, time
import mixseg.data.check, mixseg.data.streams, mixseg.evaluation.evaluator

tool = sys.argv.pop(1)
for module in (mixseg.data.streams, mixseg.data.check, mixseg.evaluation.evaluator):
    module.POLL = 0.25
mixseg.data.streams.PATIENCE = 1.0

def wait(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".png"):
        while os.path.exists("silent"):
            time.sleep(0.02)

sys.addaudithook(wait)
runpy.run_path(tool, run_name="__main__")
"""
"""A tool that says after a second what it otherwise says after a minute.

Its images are on a drive that does not answer while there is a file ``silent``.
"""


@pytest.fixture
def impatient(tmp_path: Path) -> Path:
    script = tmp_path / "impatient.py"
    script.write_text(IMPATIENT)
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


def test_one_that_dies_ends_all_processes_of_a_run(
    config: Path, launch: Launcher, tmp_path: Path
) -> None:
    flags = ("--config", config, *RUN, "--iterations", 100_000)
    processes = start_group(launch, "train_ssl", *flags, "--workers", 1)
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


def test_one_that_is_silent_is_waited_for(
    config: Path, impatient: Path, launch: Launcher, tmp_path: Path
) -> None:
    flags = ("--config", config, *RUN, "--iterations", 100_000)
    seldom = ("--workers", 1, "--set", "checkpoints.every=100000", "validation.every=0")
    process = launch.start(impatient, TOOLS / "train_ssl.py", *flags, *seldom)
    run = tmp_path / "out" / "run"
    process.until(lambda: (run / "metrics.jsonl").is_file() and metrics(run)[1:])
    silent = tmp_path / "silent"
    silent.touch()
    process.until(lambda: "warning: loading images of the" in process.err.read_text())
    time.sleep(0.5)
    assert process.poll() is None
    process.kill(signal.SIGTERM)  # and what is waited for does not keep a run from being saved
    process.until(lambda: any(run.glob("checkpoints/step-*")))
    silent.unlink()
    done = process.wait()
    assert done.code == 143, done.text
    assert "stopped at step" in done.out and "error" not in done.err
    assert done.err.count("warning: loading images") == 1, "said once"


def test_a_job_that_was_frozen_goes_on(
    config: Path, impatient: Path, launch: Launcher, tmp_path: Path
) -> None:
    flags = ("--config", config, *RUN, "--iterations", 10)
    process = launch.start(impatient, TOOLS / "train_ssl.py", *flags, "--workers", 1)
    process.until((tmp_path / "out" / "run" / "checkpoints" / "step-00000002").is_dir)
    process.kill(signal.SIGSTOP, group=True)
    time.sleep(1.5)  # longer than a loader's timeout, and than what is waited for without a word
    process.kill(signal.SIGCONT, group=True)
    done = process.wait()
    assert done.code == 0, done.text
    assert "error" not in done.err


@pytest.fixture
def evaluation(reference: Path, impatient: Path, launch: Launcher, tmp_path: Path) -> Running:
    """An evaluation whose loader process waits for a drive that does not answer."""
    (tmp_path / "silent").touch()
    command = (impatient, TOOLS / "evaluate.py", reference, "--workers", 1)
    process = launch.start(*command)
    process.until(lambda: loaders(process))
    return process


def test_one_that_is_silent_in_an_evaluation(evaluation: Running, tmp_path: Path) -> None:
    evaluation.until(lambda: "warning: reading images of" in evaluation.err.read_text())
    (tmp_path / "silent").unlink()
    done = evaluation.wait()
    assert done.code == 0, done.text
    assert "mIoU" in done.out


def test_one_that_dies_in_an_evaluation(evaluation: Running) -> None:
    os.kill(loaders(evaluation)[0], signal.SIGKILL)
    line = error_line(evaluation.wait())
    for fragment in ("reading images of", "DataLoader worker", "Try fewer --workers"):
        assert fragment in line
