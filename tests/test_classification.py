"""Distillation between classifiers: data, networks, and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mixseg.classification.data import draw_shapes, open_cifar10
from mixseg.classification.experiment import (
    ClassificationSettings,
    accuracy,
    augmented,
    normalised,
    run_experiment,
)
from mixseg.classification.networks import student_network, teacher_network
from mixseg.config.UNKNOWN import resolve_section
from mixseg.errors import CheckpointError, ConfigError, DataError

ROOT = Path(__file__).parent.parent


def tiny(folder: Path, **changes: object) -> ClassificationSettings:
    values: dict[str, object] = {
        "demo": True,
        "train_images": 40,
        "epochs": 1,
        "batch": 20,
        "output": str(folder),
        "name": "run",
        "device": "cpu",
    }
    return ClassificationSettings(**(values | changes))  # type: ignore[arg-type]


def quiet(name: str, done: int, total: int, share: float) -> None:
    assert 0 <= share <= 1


def test_networks_have_the_depth_that_the_report_says() -> None:
    weights = [p for p in student_network().parameters() if p.ndim > 1]
    assert len(weights) == 5
    images = torch.rand(2, 3, 32, 32)
    for network in (student_network(), teacher_network()):
        assert network(images).shape == (2, 10)
    # 11.17 million with ten classes, as ResNet-18 for small images is known to have.
    assert sum(p.numel() for p in teacher_network().parameters()) == 11_173_962


def test_shapes_depend_on_the_seed_alone_and_show_all_classes() -> None:
    one, same, other = draw_shapes(50, 3), draw_shapes(50, 3), draw_shapes(50, 4)
    assert torch.equal(one.images, same.images) and torch.equal(one.labels, same.labels)
    assert not torch.equal(one.images, other.images)
    assert one.images.shape == (50, 3, 32, 32) and one.images.dtype is torch.uint8
    assert set(draw_shapes(300, 0).labels.tolist()) == set(range(10))


def test_augmented_images_are_shifted_and_mirrored_pieces_of_the_padded_ones() -> None:
    images = draw_shapes(40, 0).images
    found = augmented(images, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(normalised(images), (4, 4, 4, 4))
    shifts = set()
    for image, whole in zip(found, padded, strict=True):
        matches = [
            (down, right, mirror)
            for down in range(9)
            for right in range(9)
            for mirror in (False, True)
            for piece in [whole[:, down : down + 32, right : right + 32]]
            if torch.equal(image, piece.flip(2) if mirror else piece)
        ]
        assert len(matches) == 1
        shifts.add(matches[0])
    assert len(shifts) > 30


def test_a_cnn_learns_shapes() -> None:
    train, test = draw_shapes(600, 0), draw_shapes(200, 1)
    torch.manual_seed(0)
    network = student_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(9):
        for images, labels in zip(train.images.split(50), train.labels.split(50), strict=True):
            loss = torch.nn.functional.cross_entropy(network(normalised(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert accuracy(network, test) > 0.3  # by chance 0.1


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole = run_experiment(tiny(tmp_path / "a"), quiet)
    seen: list[str] = []

    def interrupt(name: str, done: int, total: int, share: float) -> None:
        seen.append(name)
        if name == "student alone":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(tiny(tmp_path / "b"), interrupt)
    seen.clear()

    def note(name: str, done: int, total: int, share: float) -> None:
        seen.append(name)

    rest = run_experiment(tiny(tmp_path / "b"), note)
    assert seen == ["student alone", "student distilled"]  # the teacher was kept
    assert rest == whole
    for name in ("teacher", "student-alone", "student-distilled"):
        one, other = (tmp_path / x / "run" / f"{name}.safetensors" for x in "ab")
        assert one.read_bytes() == other.read_bytes()


def test_a_folder_with_other_settings_and_damaged_weights_are_refused(tmp_path: Path) -> None:
    run_experiment(tiny(tmp_path), quiet)
    with pytest.raises(ConfigError, match=r"with other settings \(seed: 0 -> 1\)"):
        run_experiment(tiny(tmp_path, seed=1), quiet)
    file = tmp_path / "run" / "teacher.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:1000], whole[:-9] + bytes([whole[-9] ^ 64]) + whole[-8:]):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="remove it to train this network again"):
            run_experiment(tiny(tmp_path), quiet)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be"),
        ({"batch": 1}, "batch must be"),
        ({"train_images": 1}, "train_images must be"),
        ({"alpha": 1.2}, "alpha must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"demo": False}, "data_root is missing"),
        ({"seed": 2**70}, "seed must be"),
        ({"name": "../elsewhere"}, "name must consist of"),
        ({"data_root": "/data"}, "demo needs no data_root"),
    ],
)
def test_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(tmp_path, **changes)


def test_what_to_download_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz .*cifar-10-batches-py"):
        open_cifar10(tmp_path)
    # A file that is not the published one is not unpickled.
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    with pytest.raises(DataError, match="as they were published"):
        open_cifar10(tmp_path)
    assert not Path("executed").exists()


def test_the_preset_has_the_constants_of_the_report() -> None:
    file = ROOT / "configs" / "distill" / "cifar10.yaml"
    settings = resolve_section(ClassificationSettings, file, {"demo": True})
    found = (settings.epochs, settings.batch, settings.lr, settings.alpha, settings.temperature)
    assert found == (30, 128, 1e-3, 0.9, 20)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "tools" / "distill_cifar10.py"), *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    done = launch("--demo", "--train-images", "40", "--epochs", "1", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "student distilled" in done.stdout
    content = json.loads((tmp_path / "out" / "distill-cifar10" / "accuracy.json").read_text())
    assert [one["network"] for one in content] == ["teacher", "student alone", "student distilled"]
    missing = launch("--data-root", "nothing")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: no CIFAR-10 below nothing: download")
    wrong = launch("--demo", "--epoch", "3")
    assert wrong.returncode == 2 and "--epochs" in wrong.stderr
