"""Kills at random points of the run of each method, with changing numbers of loader processes."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.end_to_end.processes import RUN, TOOLS, Launcher, assert_same_run, fresh

pytestmark = pytest.mark.slow

METHODS: dict[str, tuple[str, Sequence[object]]] = {
    "semi-supervised": ("train_ssl", ()),
    "domain adaptation": ("train_uda", ("--source", "gta5")),
    "adversarial": (
        "train_ssl",
        ("--regularizer", "adversarial-temperature", "--adversarial.lr", 0.001),
    ),
}
WORKERS = (0, 2, 4)
KILLS = 21
"""In each run: seven of a process with each number of workers."""

STEPS = 24
FREE = 6
"""Steps at the end that come after the last kill, so that none comes too late."""


def arguments(method: str, config: Path, workers: int) -> tuple[object, ...]:
    often = ("--iterations", STEPS, "--set", "checkpoints.every=3", "validation.every=5")
    return ("--config", config, *RUN, "--workers", workers, *often, *METHODS[method][1])


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(
    method: str, config: Path, launch: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of the method that nothing disturbed, without loader processes."""
    folder = tmp_path_factory.mktemp("whole")
    launch.ok(METHODS[method][0], *arguments(method, config, 0), cwd=folder)
    return folder / "out/run"


def reached(run: Path, processes: int, step: int) -> bool:
    """Whether as many processes have begun to train, and the last of them has logged a step."""
    record, log = run / "environment.json", run / "metrics.jsonl"
    if not log.is_file() or record.read_bytes().count(b'"started"') < processes:
        return False
    return log.read_bytes().count(b'"lr"') >= step


@pytest.mark.parametrize("workers", WORKERS)
def test_the_same_seed_gives_the_same_run(
    workers: int,
    method: str,
    whole: Path,
    config: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    command = [TOOLS / f"{METHODS[method][0]}.py", *arguments(method, config, workers)]
    done = fresh(command, tmp_path, environment)
    assert done.code == 0, done.text
    assert_same_run(whole, tmp_path / "out/run", settings=False)


def test_killed_again_and_again(
    method: str, whole: Path, config: Path, launch: Launcher, tmp_path: Path
) -> None:
    """Two kills of three follow a random step, one comes at random after a start."""
    run, chance = tmp_path / "out/run", random.Random(0)
    workers = [*WORKERS] * (KILLS // len(WORKERS))
    chance.shuffle(workers)
    steps = sorted(chance.choices(range(1, STEPS - FREE), k=KILLS))
    tool, training = METHODS[method][0], 1
    process = launch.start(tool, *arguments(method, config, workers[0]))
    for number, following in enumerate([*workers[1:], 0]):
        process.until((run / "config.yaml").is_file)
        if number % 3:
            process.until(partial(reached, run, training, steps[number]))
        time.sleep(chance.uniform(0.0, 0.05 if number % 3 else 0.5))
        process.kill(signal.SIGKILL)
        assert process.wait().code == -signal.SIGKILL
        assert not (run / "summary.json").exists()
        record = run / "environment.json"
        training = 1 + (record.read_text().count('"started"') if record.is_file() else 0)
        process = launch.start(tool, "--resume", "out/run", "--workers", following)
    done = process.wait()
    assert done.code == 0, done.text
    assert_same_run(whole, run, settings=False)
