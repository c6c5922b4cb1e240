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
    RUN,
    Launcher,
    Running,
    assert_same_run,
    assert_same_tensors,
    flip_bit,
    metrics,
    refused,
    refuses,
    refuses_each,
    state,
    tree,
)

FINAL = "checkpoints/step-00000008"
Train = Callable[..., Running]


@pytest.fixture
def train(launch: Launcher, config: Path) -> Train:
    """Starts the run of the reference in this test's folder, with further arguments."""
    return lambda *more: launch.start("train_ssl", "--config", config, *RUN, *more)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of that run."""
    return tmp_path / "out/run"


def partial_checkpoint(run: Path) -> bool:
    """A checkpoint is being written."""
    return any(run.glob("checkpoints/.step-*.partial/*.safetensors"))


@pytest.mark.parametrize(
    "moment",
    [
        # Settings are written, the network is being built, there is no checkpoint.
        "config.yaml",
        # The best networks are saved before the log and the checkpoint of that step.
        "checkpoints/best-student",
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    moment: str, run: Path, reference: Path, train: Train, launch: Launcher
) -> None:
    process = train()
    process.until((run / moment).exists)
    process.kill(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    assert not (run / "summary.json").exists()
    launch.ok("train_ssl", "--resume", "out/run")
    assert_same_run(reference, run)


def test_killed_while_a_checkpoint_is_written(
    run: Path, reference: Path, train: Train, launch: Launcher
) -> None:
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
    (run / "checkpoints/.latest.json.0123abcd").write_text("{")
    (run / "checkpoints/.step-00000003.partial").mkdir()
    launch.ok("train_ssl", "--resume", run)
    assert_same_run(reference, run)


def test_other_workers_after_the_kill(
    run: Path, reference: Path, train: Train, launch: Launcher
) -> None:
    train("--workers", 2).killed_after(run, 2)
    # At once: the workers of the dead process, which live on for seconds, do not hold the lock.
    launch.ok("train_ssl", "--resume", "out/run", "--workers", 0)
    assert_same_run(reference, run, settings=False)


# Signals that ask -------------------------------------------------------------------------------


def test_an_interrupted_run_saves_and_goes_on(
    run: Path, reference: Path, train: Train, launch: Launcher
) -> None:
    process = train("--set", "checkpoints.every=100")
    process.until((run / "checkpoints/best-student").is_dir)
    process.kill(signal.SIGTERM)
    done = process.wait()
    assert done.code == 143, done.text
    (checkpoint,) = run.glob("checkpoints/step-*")
    step = state(checkpoint)["step"]
    assert 4 <= step < 8
    assert f"stopped at step {step}, saved" in done.out and "--resume out/run" in done.out
    done = launch.ok("train_ssl", "--resume", "out/run")
    assert f"from step {step}" in done.out
    assert metrics(run) == metrics(reference)
    best = [json.loads((path / "summary.json").read_text())["best"] for path in (run, reference)]
    assert best[0] == best[1]


def test_ctrl_c_reaches_the_whole_group_with_workers(
    run: Path, reference: Path, train: Train, launch: Launcher
) -> None:
    # As timeout(1) and schedulers do: the loader's workers receive the signal too.
    process = train("--workers", 2)
    process.until((run / "checkpoints/step-00000002").is_dir)
    process.kill(signal.SIGINT, group=True)
    done = process.wait()
    assert done.code == 130 and "stopped at step" in done.out, done.text
    launch.ok("train_ssl", "--resume", "out/run", "--workers", 1)
    assert metrics(run) == metrics(reference)
    assert_same_tensors(run / FINAL, reference / FINAL)


@pytest.fixture(scope="module")
def long_validations(
    config: Path, launch: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that validates on many images."""
    folder = tmp_path_factory.mktemp("long")
    launch.ok("train_ssl", "--config", config, *RUN, "--demo.val_images", 40, cwd=folder)
    return folder / "out/run"


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
    run: Path,
    long_validations: Path,
    train: Train,
    launch: Launcher,
) -> None:
    process = train("--demo.val_images", 40)
    process.until((run / "checkpoints" / f"step-{step:08}").is_dir)  # before its validation
    process.kill(number)
    done = process.wait()
    assert done.code == code, done.text
    # Nothing is lost, and nothing of the validation is left.
    assert state(max(run.glob("checkpoints/step-*")))["step"] == step
    assert not any("miou/student" in line for line in metrics(run) if line["step"] == step)
    assert not (run / "summary.json").exists()
    launch.ok("train_ssl", "--resume", "out/run")
    assert_same_run(long_validations, run)


# One run, one process ---------------------------------------------------------------------------


def test_a_second_process_is_refused(run: Path, train: Train, launch: Launcher) -> None:
    process = train("--iterations", 100_000, "--workers", 1)
    process.until((run / "checkpoints/step-00000002").is_dir)
    refused(launch("train_ssl", "--resume", "out/run"), "out/run: another process", code=1)
    process.kill(signal.SIGTERM)
    assert process.wait().code == 143


# Resume -----------------------------------------------------------------------------------------


def test_auto_starts_and_then_goes_on(run: Path, reference: Path, train: Train) -> None:
    train("--resume", "auto").killed_after(run, 2)
    # A run that is complete is reported again; nothing is trained.
    for said in ("from step", "mIoU"):
        done = train("--resume", "auto").wait()
        assert done.code == 0 and said in done.out, done.text
        assert_same_run(reference, run)


@pytest.fixture(scope="module")
def killed(launch: Launcher, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed between its steps 6 and 8."""
    cwd = tmp_path_factory.mktemp("killed")
    launch.start("train_ssl", "--config", config, *RUN, cwd=cwd).killed_after(cwd / "out/run", 6)
    return cwd / "out/run"


@pytest.fixture
def stopped(killed: Path, run: Path) -> Path:
    """The same in the folder of this test."""
    return Path(shutil.copytree(killed, run))


def test_changed_settings_are_shown_and_refused(
    stopped: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(config.read_text() + "teacher: {decay: 0.5}\n")
    before = [one for one in tree(stopped) if "/." not in one]  # what a kill has left is tidied up
    cases = {
        "--lr 1e-3 --set model.rates=[1,3]": "optimizer.lr: model.rates: --allow-changes",
        "--config {config}": "--config",
        "--iterations 2 --allow-changes": "training.iterations",
        "--set model.rates=[1,3,5] --allow-changes": "model.rates",
        "--set optimizer.name=adamw --allow-changes": "optimizer.name",
    }
    resume = ("--resume", "out/run")
    refuses_each("ssl", cases, *resume, config=config)
    begun = ("--config", other, *RUN, "--resume", "auto")
    refuses("ssl", *begun, words=["teacher.decay: 0.99 -> 0.5", "--allow-changes"])
    refuses("supervised", *resume, words=["semi_supervised", "mixseg ssl --resume"])
    refuses("ssl", "--resume", "missing", words=["missing"], code=1)
    refuses("ssl", "--resume", ".", words=["config.yaml"])
    assert [one for one in tree(stopped) if "/." not in one] == before

    launch.ok("train_ssl", *resume, "--lr", "1e-3", "--allow-changes")
    # The rate follows the new schedule, and the run says from now on that it has it.
    assert metrics(stopped)[-2]["lr"] == pytest.approx(1e-3 * (1 / 8) ** 0.9)
    assert resolve_settings([stopped / "config.yaml"], {}).optimizer.lr == 1e-3


def test_a_damaged_checkpoint_is_passed_over(
    reference: Path, stopped: Path, launch: Launcher
) -> None:
    newest, older = sorted(stopped.glob("checkpoints/step-*"), reverse=True)[:2]
    flip_bit(newest / "student.safetensors")
    done = launch.ok("train_ssl", "--resume", "out/run")
    assert "passed over" in done.out
    assert f"{newest.name}/student.safetensors: damaged" in done.out
    assert f"from step {int(older.name[5:])}" in done.out
    assert_same_run(reference, stopped)


# Divergence -------------------------------------------------------------------------------------


def test_a_diverged_run_stops_before_anything_moves(stopped: Path, launch: Launcher) -> None:
    hot = ("--lr", "1e6", "--iterations", 20, "--allow-changes", "--checkpoints.every", 1)
    done = launch("train_ssl", "--resume", "out/run", *hot)
    step = state(max(stopped.glob("checkpoints/step-*")))["step"]
    refused(done, f"step {step + 1}: loss or gradient is not finite", code=1)
    named = done.err.split("Images of the step: ")[1].split(". The network")[0].split(", ")
    listed = (stopped / "labeled.txt").read_text() + (stopped / "unlabeled.txt").read_text()
    assert len(named) == 4 and set(named) <= set(listed.splitlines())
    assert not (stopped / "summary.json").exists()
    # It can be evaluated, and gone on with.
    launch.ok("evaluate", "out/run")
    assert yaml.safe_load((stopped / "config.yaml").read_text())["optimizer"]["lr"] == 1e6


def test_initial_weights_may_be_gone(
    reference: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "start.safetensors"
    shutil.copy(reference / FINAL / "student.safetensors", weights)
    given = ("--config", config, "--output", "out", "--weights", weights)
    given += ("--model.batch_norm", "frozen", "--schedule.name", "constant")
    for name, steps in (("whole", 4), ("run", 2)):
        launch.ok("train_ssl", *given, "--name", name, "--iterations", steps)
    weights.unlink()
    longer = ("--resume", "out/run", "--iterations", 4, "--allow-changes")
    other = reference / "checkpoints/step-00000006"
    refuses("ssl", *longer, "--weights", other, words=["initial weights"])
    launch.ok("train_ssl", *longer)
    final = "checkpoints/step-00000004"
    assert_same_tensors(*(tmp_path / "out" / name / final for name in ("whole", "run")))
    # Another run cannot start from them.
    refuses("ssl", *given, "--name", "new", words=["start.safetensors"], code=1)
