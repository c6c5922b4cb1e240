"""Progressive scaling as a user starts it: killed inside a stage and at its border."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.processes import Launcher, assert_same_run, refused

# Three labeled images: 2 steps of 2 in each epoch, then 1 of 4, then 3 of 1.
STAGES = """
stages:
- {epochs: 2, crop: [32, 32], batch: 2}
- {epochs: 1, crop: [48, 64], batch: 4, lr_factor: 0.5}
- {epochs: 1, crop: [64, 96], batch: 1, lr_factor: 0.25}
checkpoints: {every: 1}
validation: {every: 0}
"""


def arguments(config: Path, name: str) -> tuple[object, ...]:
    return ("--config", config, "stages.yaml", "--output", "out", "--name", name)


@pytest.fixture(scope="module")
def whole(
    launch: Launcher, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Tool -> the folder of its run that nothing interrupted."""

    @functools.cache
    def run(tool: str) -> Path:
        cwd = tmp_path_factory.mktemp("whole")
        (cwd / "stages.yaml").write_text(STAGES)
        done = launch(tool, *arguments(config, "run"), cwd=cwd)
        assert done.code == 0, done.text
        for line in ("1: steps 0 to 4, crops of 32x32, 2 ", "3: steps 5 to 8, crops of 64x96, 1 "):
            assert f"stage {line}labeled images" in done.out
        return cwd / "out" / "run"

    return run


@pytest.mark.parametrize(
    ("tool", "step"),
    [("train_supervised", 2), ("train_supervised", 5), ("train_ssl", 4), ("train_ssl", 5)],
)
def test_killed_inside_a_stage_and_at_its_border(
    tool: str,
    step: int,
    whole: Callable[[str], Path],
    launch: Launcher,
    config: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "stages.yaml").write_text(STAGES)
    process = launch.start(tool, *arguments(config, "run"), cwd=tmp_path)
    cut = tmp_path / "out" / "run"
    process.until(lambda: (cut / "checkpoints" / f"step-{step:08d}").is_dir())
    process.kill(signal.SIGKILL)
    process.wait()
    done = launch(tool, "--resume", cut, cwd=tmp_path)
    assert done.code == 0, done.text
    assert_same_run(whole(tool), cut)


def test_crops_that_are_larger_than_images_are_padded_and_said_once(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "stages.yaml").write_text(
        "stages:\n- {epochs: 1, crop: [32, 32], batch: 2}\n"
        "- {epochs: 1, crop: [160, 160], batch: 2}\nvalidation: {every: 0}\n"
    )
    done = launch("train_supervised", *arguments(config, "run"), cwd=tmp_path)
    assert done.code == 0, done.text
    assert done.out.count("crops of 160x160 are larger than the images, at most 64x128") == 1
    saved = yaml.safe_load((tmp_path / "out" / "run" / "config.yaml").read_text())
    assert saved["training"]["iterations"] == 4


def test_stages_that_do_not_add_up(launch: Launcher, config: Path, tmp_path: Path) -> None:
    (tmp_path / "stages.yaml").write_text(STAGES + "training: {epochs: 5}\n")
    done = launch("train_supervised", *arguments(config, "run"), cwd=tmp_path)
    refused(done, "3 stages have 4 epochs together", "training.epochs says 5", "stages.yaml")
    assert not (tmp_path / "out").exists()
