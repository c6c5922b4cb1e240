"""Losses, regularizers, lengths and stages as a user selects them, each killed and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from tests.end_to_end.processes import RUN, Launcher, assert_same_run, metrics, refuses

# Three labeled images: 2 steps of 2 in each epoch, then 1 of 4, then 3 of 1.
STAGES = """
stages:
- {epochs: 2, crop: [32, 32], batch: 2}
- {epochs: 1, crop: [48, 64], batch: 4, lr_factor: 0.5}
- {epochs: 1, crop: [64, 96], batch: 1, lr_factor: 0.25}
checkpoints: {every: 1}
"""
EPOCHS = "training: {iterations: 3, epochs: 4}\n"
ADVERSARIAL = ("--regularizer", "adversarial-temperature")
SAMPLED = ("--sampling.name", "rare", "--sampling.min_pixels", 200, "--data.crop", "32x32")
SHORT = ("--iterations", 4)
UDA = "train_uda"
RARE = (
    *("--demo.train_images", 24, "--labeled", 22, "--mixing.labeled", "classmix", *SHORT),
    *("--mixing.together", "auto", "--mixing.rare_temperature", 0.2),
)


# Tool, YAML, flags, and the steps whose checkpoints a kill follows.
RECIPES: dict[str, tuple[str, str, tuple[object, ...], tuple[int, ...]]] = {
    "counted classes, mixup of labels, adversarial": (
        "train_ssl",
        "",
        (
            *("--loss", "balanced-cross-entropy + 0.5*dice", "--mixing.labeled", "mixup"),
            *(*ADVERSARIAL, "--adversarial.lr", 0.001, "--adversarial.unlabeled"),
            *SHORT,
        ),
        (2,),
    ),
    "rare classes and those that belong together": ("train_ssl", "", RARE, (2,)),
    "inside a stage and at its border": ("train_ssl", STAGES, (), (2, 5)),
    "alignment of domains, rare classes": (
        UDA,
        "",
        ("--source", "gta5", "--domains", "intra", "--alignment", "labeled", *SAMPLED, *SHORT),
        (2,),
    ),
}


def arguments(config: Path, name: str, *more: object) -> tuple[object, ...]:
    often = ("--set", "validation.every=0")
    return ("--config", config, "own.yaml", "--output", "out", "--name", name, *often, *more)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_killed_run_goes_on_to_the_bit(
    recipe: str, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    tool, text, flags, steps = RECIPES[recipe]
    (tmp_path / "own.yaml").write_text(text)
    whole = launch.ok(tool, *arguments(config, "whole", *flags))
    run = tmp_path / "out/whole"
    for step in steps:
        cut = tmp_path / "out" / f"cut-{step}"
        launch.start(tool, *arguments(config, cut.name, *flags)).killed_after(cut, step)
        done = launch.ok(tool, "--resume", cut)
        assert_same_run(run, cut, settings=False)
    if text == STAGES:
        for line in ("1: steps 0 to 4, crops of 32x32, 2 ", "3: steps 5 to 8, crops of 64x96, 1 "):
            assert f"stage {line}labeled images" in whole.out
    if flags is RARE:
        assert "looking in 22 labels" in whole.out and "looking" not in done.out
        pairs = ", ".join(map("+".join, json.loads((run / "related.json").read_text())))
        assert pairs and f"mixing.together auto: {pairs}" in whole.out
        for name in ("related.json", "frequencies.yaml"):
            assert (cut / name).read_text() == (run / name).read_text()
    if ADVERSARIAL[0] in flags:
        assert "counting the classes of 3 labels" in whole.out and "counting" not in done.out
        shares = yaml.safe_load((run / "frequencies.yaml").read_text())
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert shares["road"] > shares["pole"], "shares have the names of their classes"
        assert (cut / "frequencies.yaml").read_text() == (run / "frequencies.yaml").read_text()
        for line in metrics(run)[:4]:
            assert line["loss/adversarial"] > 0 and line["discriminator"] > 0
        # It belongs to the run.
        off = ("--resume", cut, "--regularizer", "none", "--allow-changes")
        refuses("ssl", *off, words=["regularizer: adversarial-temperature -> none"])


def test_rare_classes(launch: Launcher, config: Path, tmp_path: Path) -> None:
    """Pixels are counted once, and counts that were lost come back as they were."""
    given = ("--config", config, *RUN, *SAMPLED, "--data.labeled", "full", "--validation.every", 0)
    cache = str(tmp_path / "cache")  # that of the session may know the counts
    done = launch.ok("train_supervised", *given, "--iterations", 2, MIXSEG_CACHE=cache)
    assert done.out.count("counting the classes of each of 12 labels") == 1
    assert "note: no image of the labeled stream has 200 pixels" in done.out
    counts = tmp_path / "out/run/class_pixels.json"
    whole = counts.read_text()
    counts.unlink()
    resume = ("--resume", "out/run", "--iterations", 3, "--allow-changes")
    launch.ok("train_supervised", *resume, MIXSEG_CACHE=str(tmp_path / "empty"))
    assert counts.read_text() == whole
    other = ("--resume", "out/run", "--sampling.min_pixels", 9)
    refuses("supervised", *other, words=["sampling.min_pixels: 200 -> 9"])


def test_a_regularizer_that_weighs_nothing_changes_nothing(
    reference: Path, launch: Launcher, config: Path, tmp_path: Path
) -> None:
    launch.ok("train_ssl", "--config", config, *RUN, *ADVERSARIAL, "--adversarial.alpha", 0)
    found, expected = networks(tmp_path / "out/run"), networks(reference)
    assert set(expected) < set(found)
    for name, tensors in expected.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, found[name][key]), (name, key)
    launch.ok("evaluate", "out/run")  # which has a network more


def networks(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((run / "checkpoints/step-00000008").glob("*.safetensors"))
    return {file.stem: safetensors.torch.load_file(file) for file in files}


# Epochs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cut_in_epochs(launch: Launcher, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of four epochs that was killed on its way."""
    cwd = tmp_path_factory.mktemp("epochs")
    (cwd / "epochs.yaml").write_text(EPOCHS)
    given = ("--config", config, "epochs.yaml", *RUN)
    launch.start("train_ssl", *given, cwd=cwd).killed_after(cwd / "out/run", 2)
    return cwd


@pytest.fixture
def in_epochs(cut_in_epochs: Path, tmp_path: Path) -> Path:
    """A copy of that run in the folder of a test."""
    shutil.copytree(cut_in_epochs, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out/run"


def test_epochs_are_the_run_of_as_many_steps(
    reference: Path, in_epochs: Path, launch: Launcher, config: Path
) -> None:
    saved = (in_epochs / "config.yaml").read_text()
    training = yaml.safe_load(saved)["training"]
    assert (training["epochs"], training["iterations"]) == (4, 8)
    begun = ("--config", config, "epochs.yaml", *RUN)
    done = launch.ok("train_ssl", *begun, "--resume", "auto")
    assert "4 epochs of 2 steps" in done.out
    assert_same_run(reference, in_epochs, settings=False)
    assert (in_epochs / "config.yaml").read_text() == saved


def test_another_length(in_epochs: Path, launch: Launcher) -> None:
    resume = ("--resume", "out/run")
    words = ["training.iterations: 8 -> 9", "training.epochs: 4 -> None"]
    refuses("ssl", *resume, "--iterations", 9, words=words)
    refuses("ssl", *resume, "--epochs", 5, words=["training.epochs: 4 -> 5"])
    launch.ok("train_ssl", *resume, "--epochs", 5, "--allow-changes")
    assert (in_epochs / "checkpoints/step-00000010").is_dir()
    assert yaml.safe_load((in_epochs / "config.yaml").read_text())["training"]["iterations"] == 10


def test_what_is_typed_replaces_epochs_and_large_crops_are_padded(
    launch: Launcher, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(EPOCHS)
    given = arguments(config, "run", "--iterations", 1, "--set", "data.crop=[160,160]")
    done = launch.ok("train_supervised", *given)
    assert "epochs of" not in done.out
    assert done.out.count("crops of 160x160 are larger than the images, at most 64x128") == 1
    training = yaml.safe_load((tmp_path / "out/run/config.yaml").read_text())["training"]
    assert (training["epochs"], training["iterations"]) == (None, 1)
