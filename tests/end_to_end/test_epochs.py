"""A run whose length is given in epochs."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.processes import Launcher, Running, assert_same_run, refused

# Three labeled images in batches of two: four epochs are the eight steps of the reference.
EPOCHS = "training: {iterations: 3, epochs: 4}\n"


@pytest.fixture(scope="module")
def killed(launch: Launcher, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder above a run in epochs that was killed on its way."""
    cwd = tmp_path_factory.mktemp("killed")
    (cwd / "epochs.yaml").write_text(EPOCHS)
    process: Running = launch.start("train_ssl", *arguments(config), cwd=cwd)
    process.until(lambda: (cwd / "out/run/checkpoints/step-00000002").is_dir())
    process.kill(signal.SIGKILL)
    assert "4 epochs of 2 steps" in process.wait().out
    return cwd


@pytest.fixture
def stopped(killed: Path, tmp_path: Path) -> Path:
    """The same run in the folder of this test."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out" / "run"


def arguments(config: Path) -> tuple[object, ...]:
    return ("--config", config, "epochs.yaml", "--output", "out", "--name", "run")


@pytest.mark.parametrize("auto", [False, True])
def test_it_is_the_run_of_as_many_steps_and_goes_on(
    auto: bool,
    reference: tuple[Path, str],
    stopped: Path,
    launch: Launcher,
    config: Path,
    tmp_path: Path,
) -> None:
    saved = (stopped / "config.yaml").read_text()
    training = yaml.safe_load(saved)["training"]
    assert (training["epochs"], training["iterations"]) == (4, 8)
    resume = (*arguments(config), "--resume", "auto") if auto else ("--resume", "out/run")
    done = launch("train_ssl", *resume, cwd=tmp_path)
    assert done.code == 0, done.text
    assert "4 epochs of 2 steps" in done.out
    assert_same_run(reference[0], stopped, settings=False)
    assert (stopped / "config.yaml").read_text() == saved


def test_another_length(stopped: Path, launch: Launcher, tmp_path: Path) -> None:
    more = ("--resume", "out/run", "--epochs", 5)
    refused(launch("train_ssl", *more, cwd=tmp_path), "training.epochs: 4 -> 5")
    typed = launch("train_ssl", "--resume", "out/run", "--iterations", 9, cwd=tmp_path)
    refused(typed, "training.iterations: 8 -> 9", "training.epochs: 4 -> None")
    done = launch("train_ssl", *more, "--allow-changes", cwd=tmp_path)
    assert done.code == 0, done.text
    assert (stopped / "checkpoints" / "step-00000010").is_dir()
    assert yaml.safe_load((stopped / "config.yaml").read_text())["training"]["iterations"] == 10


def test_what_is_typed_replaces_epochs_of_a_file(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "epochs.yaml").write_text(EPOCHS)
    more = ("--iterations", 1, "--set", "data.rotate=15")
    done = launch("train_ssl", *arguments(config), *more, cwd=tmp_path)
    assert done.code == 0, done.text
    assert "epochs of" not in done.out
    training = yaml.safe_load((tmp_path / "out" / "run" / "config.yaml").read_text())["training"]
    assert (training["epochs"], training["iterations"]) == (None, 1)


def test_a_warm_up_that_is_too_long_leaves_no_folder(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "epochs.yaml").write_text(EPOCHS + "schedule: {warmup_steps: 8}\n")
    done = launch("train_ssl", *arguments(config), cwd=tmp_path)
    refused(done, "schedule.warmup_steps", "below the 8 steps", "an epoch of 3 labeled images")
    assert not (tmp_path / "out").exists()
