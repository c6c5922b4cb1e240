"""``--regularizer adversarial-temperature`` as a person types it, with every method."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.end_to_end.processes import Launcher, assert_same_run, metrics, refused

ON = ("--regularizer", "adversarial-temperature")


def networks(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((run / "checkpoints" / "step-00000008").glob("*.safetensors"))
    return {file.stem: safetensors.torch.load_file(file) for file in files}


@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ("train_supervised", ()),
        ("train_ssl", ("--adversarial.unlabeled",)),
        ("train_uda", ("--source", "gta5", "--adversarial.unlabeled")),
    ],
)
def test_every_method_trains_with_it(
    tool: str, more: tuple[str, ...], launch: Launcher, config: Path, tmp_path: Path
) -> None:
    done = launch(
        tool,
        *("--config", config, "--output", "out", "--name", "run", *more, *ON),
        *("--adversarial.temperature_g", 0.5, "--iterations", 3),
        cwd=tmp_path,
    )
    assert done.code == 0, done.text
    assert "regularizer adversarial-temperature: discriminator of 2.77 M parameters" in done.out
    lines = [line for line in metrics(tmp_path / "out" / "run") if "lr" in line]
    for line in lines:
        assert line["loss/adversarial"] > 0
        assert line["discriminator"] > 0
    if tool == "train_supervised":  # its checkpoint can be read
        done = launch("evaluate", "out/run", cwd=tmp_path)
        assert done.code == 0, done.text
        summary = json.loads((tmp_path / "out" / "run" / "summary.json").read_text())
        assert f"{100 * summary['last']['student']['miou']:.2f}" in done.out


def test_alpha_0_is_the_run_without_it(
    reference: tuple[Path, str], launch: Launcher, config: Path, tmp_path: Path
) -> None:
    done = launch(
        "train_ssl",
        *("--config", config, "--output", "out", "--name", "run", *ON),
        *("--adversarial.alpha", 0),
        cwd=tmp_path,
    )
    assert done.code == 0, done.text
    found, expected = networks(tmp_path / "out" / "run"), networks(reference[0])
    assert set(expected) < set(found)
    for name, tensors in expected.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, found[name][key]), (name, key)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_discriminator(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    arguments = ("--config", config, "--output", "out", *ON, "--adversarial.lr", 0.001)
    whole = launch("train_ssl", *arguments, "--name", "whole", cwd=tmp_path)
    assert whole.code == 0, whole.text
    run = tmp_path / "out" / "killed"
    process = launch.start("train_ssl", *arguments, "--name", "killed", cwd=tmp_path)
    process.until(lambda: (run / "checkpoints" / "step-00000004").is_dir())
    process.kill(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    done = launch("train_ssl", "--resume", run, cwd=tmp_path)
    assert done.code == 0, done.text
    assert_same_run(tmp_path / "out" / "whole", run, settings=False)
    assert any(name.startswith("regularizer") for name in networks(run))

    # It belongs to the run: neither dropped nor added on the way.
    done = launch("train_ssl", "--resume", run, "--regularizer", "none", cwd=tmp_path)
    refused(done, "regularizer: adversarial-temperature -> none")
    done = launch(
        *("train_ssl", "--resume", run, "--regularizer", "none", "--allow-changes"), cwd=tmp_path
    )
    refused(done, "checkpoint does not fit")


def test_a_wrong_name_or_value_leaves_nothing(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    base = ("--config", config, "--output", "out")
    done = launch("train_ssl", *base, "--regularizer", "adversarial", cwd=tmp_path)
    refused(done, "regularizer", "adversarial-temperature", "none")
    done = launch("train_ssl", *base, *ON, "--adversarial.temperature_g", 0, cwd=tmp_path)
    refused(done, "adversarial.temperature_g")
    assert not (tmp_path / "out").exists()
