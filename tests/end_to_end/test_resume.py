"""Runs that are killed, interrupted or spoilt, and go on."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mixseg.config.resolve import resolve_settings
from tests.end_to_end.processes import (
    Launcher,
    Running,
    assert_same_run,
    assert_same_tensors,
    flip_bit,
    metrics,
    refused,
    refused_saying,
    state,
    tree,
)

Train = Callable[..., Running]
Moment = Callable[[Path], bool]
FINAL = "checkpoints/step-00000008"


def partial_checkpoint(run: Path) -> bool:
    """A checkpoint is being written."""
    return any(run.glob("checkpoints/.step-*.partial/*.safetensors"))


MOMENTS: dict[str, Moment] = {
    # Settings are written, the network is being built, there is no checkpoint.
    "before the first step": lambda run: (run / "config.yaml").is_file(),
    # The best networks are saved before the log and the checkpoint of that step.
    "during a validation": lambda run: (run / "checkpoints" / "best-student").is_dir(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    moment: str, reference: Path, train: Train, launch: Launcher, tmp_path: Path
) -> None:
    run = tmp_path / "out" / "run"
    process = train()
    process.until(lambda: MOMENTS[moment](run))
    process.kill(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    assert not (run / "summary.json").exists()

    launch.ok("train_ssl", "--resume", "out/run")
    assert_same_run(reference, run)


def test_killed_while_a_checkpoint_is_written(
    reference: Path, train: Train, launch: Launcher, tmp_path: Path
) -> None:
    run = tmp_path / "out" / "run"
    process = train()
    while True:  # stopped first, to be sure that the moment has not passed when the kill arrives
        process.until(lambda: partial_checkpoint(run))
        process.kill(signal.SIGSTOP)
        time.sleep(0.01)
        if partial_checkpoint(run):
            break
        process.kill(signal.SIGCONT)
    process.kill(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    assert partial_checkpoint(run)
    # What such a kill leaves is removed, also where no later save replaces it.
    (run / "checkpoints" / ".latest.json.0123abcd").write_text("{")
    (run / "checkpoints" / ".step-00000003.partial").mkdir()

    launch.ok("train_ssl", "--resume", run)
    assert_same_run(reference, run)


def test_other_workers_after_the_kill(
    reference: Path, train: Train, launch: Launcher, tmp_path: Path
) -> None:
    run = tmp_path / "out" / "run"
    train("--workers", 2).killed_after(run, 2)
    # At once: the workers of the dead process, which live on for seconds, do not hold the lock.
    launch.ok("train_ssl", "--resume", "out/run", "--workers", 0)
    assert_same_run(reference, run, settings=False)


# Signals that ask -------------------------------------------------------------------------------


def test_an_interrupted_run_saves_and_goes_on(
    reference: Path, train: Train, launch: Launcher, tmp_path: Path
) -> None:
    run = tmp_path / "out" / "run"
    process = train("--set", "checkpoints.every=100")
    process.until(lambda: (run / "checkpoints" / "best-student").is_dir())
    process.kill(signal.SIGTERM)
    done = process.wait()
    assert done.code == 143, done.text
    (checkpoint,) = run.glob("checkpoints/step-*")
    step = state(checkpoint)["step"]
    assert 4 <= step < 8
    assert f"stopped at step {step}, saved" in done.out
    assert "--resume out/run" in done.out

    done = launch.ok("train_ssl", "--resume", "out/run")
    assert f"from step {step}" in done.out
    assert metrics(run) == metrics(reference)
    best = [json.loads((path / "summary.json").read_text())["best"] for path in (run, reference)]
    assert best[0] == best[1]


def test_ctrl_c_reaches_the_whole_group_with_workers(
    reference: Path, train: Train, launch: Launcher, tmp_path: Path
) -> None:
    # As timeout(1) and schedulers do: the loader's workers receive the signal too.
    run = tmp_path / "out" / "run"
    process = train("--workers", 2)
    process.until(lambda: (run / "checkpoints" / "step-00000002").is_dir())
    process.kill(signal.SIGINT, group=True)
    done = process.wait()
    assert done.code == 130, done.text
    assert "stopped at step" in done.out
    launch.ok("train_ssl", "--resume", "out/run", "--workers", 1)
    assert metrics(run) == metrics(reference)
    assert_same_tensors(run / FINAL, reference / FINAL)


@pytest.fixture(scope="module")
def long_validations(
    config: Path, launch: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[object, ...]]:
    """A run that validates on many images, and its arguments."""
    folder = tmp_path_factory.mktemp("long")
    arguments = ("--config", config, "--output", "out", "--name", "run", "--demo.val_images", 40)
    launch.ok("train_ssl", *arguments, cwd=folder)
    return folder / "out" / "run", arguments


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "step"),
    [
        (signal.SIGTERM, 143, 8),
        (signal.SIGKILL, -signal.SIGKILL, 4),
        (signal.SIGKILL, -signal.SIGKILL, 8),
    ],
)
def test_stopped_in_a_validation(
    number: int,
    code: int,
    step: int,
    long_validations: tuple[Path, tuple[object, ...]],
    launch: Launcher,
    tmp_path: Path,
) -> None:
    whole, arguments = long_validations
    run = tmp_path / "out" / "run"
    process = launch.start("train_ssl", *arguments)
    process.until((run / "checkpoints" / f"step-{step:08}").is_dir)  # before its validation
    process.kill(number)
    done = process.wait()
    assert done.code == code, done.text
    # Nothing is lost, and nothing of the validation is left.
    assert state(max(run.glob("checkpoints/step-*")))["step"] == step
    assert not any("miou/student" in line for line in metrics(run) if line["step"] == step)
    assert not (run / "summary.json").exists()
    launch.ok("train_ssl", "--resume", "out/run")
    assert_same_run(whole, run)


# One run, one process ---------------------------------------------------------------------------


def test_a_second_process_is_refused(train: Train, launch: Launcher, tmp_path: Path) -> None:
    run = tmp_path / "out" / "run"
    process = train("--iterations", 100_000, "--workers", 1)
    process.until(lambda: (run / "checkpoints" / "step-00000002").is_dir())
    refused(
        launch("train_ssl", "--resume", "out/run"),
        "out/run: another process is training in this folder",
        code=1,
    )
    process.kill(signal.SIGTERM)
    assert process.wait().code == 143


# Resume -----------------------------------------------------------------------------------------


def test_auto_starts_and_then_goes_on(reference: Path, train: Train, tmp_path: Path) -> None:
    run = tmp_path / "out" / "run"
    train("--resume", "auto").killed_after(run, 2)
    done = train("--resume", "auto").wait()
    assert done.code == 0, done.text
    assert "from step" in done.out
    assert_same_run(reference, run)
    # A run that is complete is reported again; nothing is trained.
    done = train("--resume", "auto").wait()
    assert done.code == 0, done.text
    assert "mIoU" in done.out
    assert_same_run(reference, run)


@pytest.fixture(scope="module")
def killed(launch: Launcher, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed between its steps 6 and 8."""
    cwd = tmp_path_factory.mktemp("killed")
    flags = ("--config", config, "--output", "out", "--name", "run")
    launch.start("train_ssl", *flags, cwd=cwd).killed_after(cwd / "out" / "run", 6)
    return cwd / "out" / "run"


@pytest.fixture
def stopped(killed: Path, tmp_path: Path) -> Path:
    """The same in the folder of this test, where it works."""
    return Path(shutil.copytree(killed, tmp_path / "out" / "run"))


def visible(run: Path) -> list[str]:
    """What is in a run, but for what a kill has left, which is tidied up."""
    return [one for one in tree(run) if "/." not in one]


def test_changed_settings_are_shown_and_refused(
    stopped: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(config.read_text() + "teacher: {decay: 0.5}\n")
    begun = ("--config", other, "--output", "out", "--name", "run", "--resume", "auto")
    before, resume = visible(stopped), ("--resume", "out/run")
    changes = ("optimizer.lr: 0.01 -> 0.001", "model.rates: (1, 2) -> (1, 3)", "--allow-changes")
    refused_saying("ssl", *resume, "--lr", "1e-3", "--set", "model.rates=[1, 3]", words=changes)
    refused_saying("ssl", *begun, words=["teacher.decay: 0.99 -> 0.5", "--allow-changes"])
    refused_saying("supervised", *resume, words=["semi_supervised", "mixseg ssl --resume"])
    refused_saying("ssl", *resume, "--config", config, words=["--config"])
    for fixed, reason in (
        (("--iterations", "2"), "training.iterations"),
        (("--set", "model.rates=[1, 3, 5]"), "model.rates"),
        (("--set", "optimizer.name=adamw"), "optimizer.name"),
    ):
        refused_saying("ssl", *resume, *fixed, "--allow-changes", words=[reason])
    refused_saying("ssl", "--resume", "missing", words=["missing"], code=1)
    refused_saying("ssl", "--resume", ".", words=["config.yaml"])
    assert visible(stopped) == before

    launch.ok("train_ssl", *resume, "--lr", "1e-3", "--allow-changes")
    # The rate follows the new schedule, and the run says from now on that it has it.
    assert metrics(stopped)[-2]["lr"] == pytest.approx(1e-3 * (1 / 8) ** 0.9)
    assert resolve_settings([stopped / "config.yaml"], {}).optimizer.lr == 1e-3


def test_a_damaged_checkpoint_is_passed_over(
    reference: Path, stopped: Path, launch: Launcher
) -> None:
    newest, older = sorted(stopped.glob("checkpoints/step-*"), reverse=True)[:2]
    step = state(older)["step"]
    flip_bit(newest / "student.safetensors")
    done = launch.ok("train_ssl", "--resume", "out/run")
    assert "passed over" in done.out
    assert f"{newest.name}/student.safetensors: damaged" in done.out
    assert f"from step {step}" in done.out
    assert_same_run(reference, stopped)


# Divergence -------------------------------------------------------------------------------------


def test_a_diverged_run_stops_before_anything_moves(
    reference: Path, stopped: Path, launch: Launcher
) -> None:
    done = launch(
        "train_ssl",
        *("--resume", "out/run", "--lr", "1e6", "--iterations", 20, "--allow-changes"),
        *("--set", "checkpoints.every=1"),
    )
    newest = sorted(stopped.glob("checkpoints/step-*"))[-1]
    step = state(newest)["step"]
    refused(
        done,
        f"step {step + 1}: loss or gradient is not finite",
        "Images of the step:",
        "checkpoints so far are intact",
        code=1,
    )
    named = done.err.split("Images of the step: ")[1].split(". The network")[0].split(", ")
    listed = (stopped / "labeled.txt").read_text() + (stopped / "unlabeled.txt").read_text()
    assert len(named) == 4
    assert set(named) <= set(listed.splitlines())
    assert not (stopped / "summary.json").exists()
    # It can be evaluated, and gone on with.
    launch.ok("evaluate", "out/run")
    settings = yaml.safe_load((stopped / "config.yaml").read_text())
    assert settings["optimizer"]["lr"] == 1e6


def test_initial_weights_may_be_gone(
    reference: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "start.safetensors"
    shutil.copy(reference / "checkpoints" / "step-00000008" / "student.safetensors", weights)
    run = ("--config", config, "--output", "out", "--weights", weights)
    run += ("--model.batch_norm", "frozen")
    for name, steps in (("whole", 8), ("run", 4)):
        options = ("--iterations", steps, "--schedule.name", "constant")
        launch.ok("train_ssl", *run, "--name", name, *options)
    weights.unlink()
    longer = ("--resume", "out/run", "--iterations", 8, "--allow-changes")
    other = reference / "checkpoints" / "step-00000006"
    refused(launch("train_ssl", *longer, "--weights", other), "takes the place of initial weights")
    launch.ok("train_ssl", *longer)
    assert_same_tensors(*(tmp_path / "out" / name / FINAL for name in ("whole", "run")))
    # Another run cannot start from them.
    refused(launch("train_ssl", *run, "--name", "new"), "start.safetensors", code=1)
