"""Distillation between classifiers: data, networks, and the command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from examples import distill_cifar10 as example
from mixseg.errors import CheckpointError, ConfigError, DataError
from mixseg.terminal import new_console

QUIET = new_console(quiet=True)


def tiny(folder: Path, *flags: str) -> argparse.Namespace:
    size = ("--train-images", "40", "--epochs", "1", "--batch", "20", "--device", "cpu")
    return example.parse(["--demo", *size, "--output", str(folder), "--name", "run", *flags])


def test_networks_and_shapes() -> None:
    assert len([p for p in example.student_network().parameters() if p.ndim > 1]) == 5
    # 11.17 million with ten classes, as ResNet-18 for small images is known to have.
    assert sum(p.numel() for p in example.teacher_network().parameters()) == 11_173_962
    one, same, other = (example.draw_shapes(300, seed) for seed in (3, 3, 4))
    assert torch.equal(one.images, same.images) and torch.equal(one.labels, same.labels)
    assert not torch.equal(one.images, other.images)
    assert set(one.labels.tolist()) == set(range(10))


def test_augmented_images_are_shifted_and_mirrored_pieces_of_the_padded_ones() -> None:
    images = example.draw_shapes(40, 0).images
    found = example.augmented(images, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(example.normalized(images), (4, 4, 4, 4))
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


def test_a_cnn_learns_shapes(tmp_path: Path) -> None:
    options = tiny(tmp_path, "--epochs", "9", "--batch", "50", "--lr", "2e-3")
    torch.manual_seed(0)
    network = example.student_network()
    assert len(list(example.epochs(network, None, example.draw_shapes(600, 0), options))) == 9
    assert example.accuracy(network, example.draw_shapes(200, 1)) > 0.3  # by chance 0.1


@pytest.mark.slow
def test_an_interrupted_run_continues_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = example.run_experiment(tiny(tmp_path / "a"), QUIET)
    said: list[str] = []

    def interrupt(console: object, text: str) -> None:
        said.append(text.partition(",")[0])
        if said == ["teacher", "student alone"]:
            raise KeyboardInterrupt

    monkeypatch.setattr(example, "say", interrupt)
    with pytest.raises(KeyboardInterrupt):
        example.run_experiment(tiny(tmp_path / "b"), QUIET)
    assert example.run_experiment(tiny(tmp_path / "b"), QUIET) == whole
    assert said[2:] == ["student alone", "student distilled"]  # the teacher was kept
    for name in ("teacher", "student-alone", "student-distilled"):
        one, other = (tmp_path / x / "run" / name / "network.safetensors" for x in "ab")
        assert one.read_bytes() == other.read_bytes()


def test_a_folder_with_other_settings_and_damaged_weights_are_refused(tmp_path: Path) -> None:
    example.run_experiment(tiny(tmp_path), QUIET)
    with pytest.raises(ConfigError, match="seed"):
        example.run_experiment(tiny(tmp_path, "--seed", "1"), QUIET)
    file = tmp_path / "run" / "teacher" / "network.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 64]) + whole[-8:])
    with pytest.raises(CheckpointError, match="teacher"):
        example.run_experiment(tiny(tmp_path), QUIET)


def test_options(tmp_path: Path) -> None:
    for text in (
        *("--epochs 0", "--batch 1", "--train-images 1", "--alpha 1.2", f"--seed {2**70}"),
        *("--name ../elsewhere", "--data-root /data"),
    ):
        with pytest.raises(ConfigError, match=text.split()[0].removeprefix("--")):
            tiny(tmp_path, *text.split())
    found = example.parse(["--demo"])
    constants = (found.epochs, found.batch, found.lr, found.alpha, found.temperature)
    assert constants == (30, 128, 1e-3, 0.9, 20), "those of the report"
    file = tmp_path / "options.yaml"
    file.write_text("epochs: 10\nlr: 0.01\ndemo: true\n")
    found = example.parse(["--config", str(file), "--lr", "0.5"])
    assert (found.epochs, found.lr, found.demo) == (10, 0.5, True)
    for text in ("epoch: 10", "epochs: 0"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="epoch"):
            example.parse(["--demo", "--config", str(file)])
    with pytest.raises(ConfigError, match="--data-root"):
        example.parse([])


def test_files_other_than_the_published_ones_are_not_unpickled(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz .*cifar-10-batches-py"):
        example.open_cifar10(tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    with pytest.raises(DataError):
        example.open_cifar10(tmp_path)
    assert not Path("executed").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--train-images", "40", "--epochs", "1", "--output", str(tmp_path)]
    assert example.run(example.distill_cifar10, ["--demo", *size]) == 0
    assert "student distilled" in capsys.readouterr().out
    content = json.loads((tmp_path / "distill-cifar10" / "accuracy.json").read_text())
    assert [one["network"] for one in content] == ["teacher", "student alone", "student distilled"]
    for flags, code in ((["--data-root", str(tmp_path)], 1), (["--demo", "--epoch", "3"], 2)):
        assert example.run(example.distill_cifar10, flags) == code
