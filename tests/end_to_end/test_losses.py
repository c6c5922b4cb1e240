"""Losses and mixers of labelled images as a user selects them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.processes import Launcher, assert_same_run, refused

LOSS = "balanced-cross-entropy + 0.5*dice"


def test_classes_are_counted_once_and_a_killed_run_weighs_as_before(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    flags = ("--config", config, "--loss", LOSS, "--mixing.labeled", "mixup", "--output", "out")
    whole = launch("train_ssl", *flags, "--name", "whole", cwd=tmp_path)
    assert whole.code == 0, whole.text
    assert "counting the classes of 3 labels" in whole.out
    shares = yaml.safe_load((tmp_path / "out" / "whole" / "frequencies.yaml").read_text())
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert shares["road"] > shares["pole"], "shares have the names of their classes"

    process = launch.start("train_ssl", *flags, "--name", "cut", cwd=tmp_path)
    cut = tmp_path / "out" / "cut"
    process.until(lambda: (cut / "checkpoints" / "step-00000004").is_dir())
    process.kill(signal.SIGKILL)
    process.wait()
    done = launch("train_ssl", "--resume", "out/cut", cwd=tmp_path)
    assert done.code == 0, done.text
    assert "counting" not in done.out
    saved = (cut / "frequencies.yaml").read_text()
    assert saved == (tmp_path / "out" / "whole" / "frequencies.yaml").read_text()
    assert_same_run(tmp_path / "out" / "whole", cut, settings=False)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--loss", "hinge"), ("unknown loss 'hinge'", "dice")),
        (("--loss", "dice+dice"), ("dice is there twice",)),
        (("--supervised_loss.gamma", "-1"), ("supervised_loss.gamma", "-1")),
        (
            ("--loss", "dice", "--supervised_loss.label_smoothing", "0.1"),
            ("does nothing with dice",),
        ),
        (("--mixing.labeled", "blend"), ("mixing.labeled: unknown mixer 'blend'", "mixup")),
        (("--schedule.momentum", "[0.8,0.9]"), ("schedule.momentum does nothing with poly",)),
    ],
)
def test_refused_before_anything_is_made(
    flags: tuple[str, ...], words: tuple[str, ...], launch: Launcher, config: Path, tmp_path: Path
) -> None:
    done = launch("train_ssl", "--config", config, *flags, "--output", "out", cwd=tmp_path)
    refused(done, *words)
    assert not (tmp_path / "out").exists()


def test_shares_of_unknown_classes(launch: Launcher, config: Path, tmp_path: Path) -> None:
    (tmp_path / "loss.yaml").write_text(
        "supervised_loss: {name: balanced-cross-entropy, frequencies: {rode: 0.5, sky: 0.5}}\n"
    )
    flags = ("--config", config, "loss.yaml", "--output", "out")
    refused(
        launch("train_ssl", *flags, cwd=tmp_path),
        "supervised_loss.frequencies",
        "'rode'",
        "'road'",
        code=1,
    )
    assert not list((tmp_path / "out").glob("*")), "no folder that looks like a run"
