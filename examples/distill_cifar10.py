"""Distill ResNet-18 into a CNN of five layers on CIFAR-10: the first experiment of Karlı.

Trains the teacher, the student alone, and the student with the teacher, and prints their accuracy:

    python examples/distill_cifar10.py --data-root DIR
    python examples/distill_cifar10.py --demo --epochs 10

The defaults are the constants of the report. The run's folder gets ``settings.json``, a checkpoint
of each network once it is trained, and ``accuracy.json``; the same command continues an interrupted
run at the network that it was training.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torchvision.datasets import CIFAR10
from torchvision.models import resnet18

from mixseg.cli import run
from mixseg.config.checks import check_run_name
from mixseg.config.values import SEEDS, FlagType, Range
from mixseg.errors import ConfigError, DataError, TrainingError
from mixseg.files import read_json, write_atomically
from mixseg.losses import distillation_divergence
from mixseg.randomness import generator
from mixseg.strict_yaml import load_yaml
from mixseg.terminal import new_console, say, show
from mixseg.training.checkpoint import read_checkpoint, write_checkpoint
from mixseg.training.precision import choose_device
from mixseg.training.run_directory import RunDirectory

CLASSES, SIZE = 10, 32
PADDING = 4  # training images are shifted by up to so many pixels

FREE = ("config", "data_root", "output", "name", "device")
"""Options that may change when a run continues."""


class Images(NamedTuple):
    """uint8 of shape (N, 3, 32, 32), and int64 from 0 to 9 of shape (N,)."""

    images: Tensor
    labels: Tensor


def open_cifar10(root: Path) -> tuple[Images, Images]:
    """The training and the test images of CIFAR-10 (Krizhevsky, 2009).

    The files are Python pickles, which nobody should load from strangers: torchvision compares the
    hash of each file with the published one before it loads it.
    """
    parts = []
    for train in (True, False):
        try:
            read = CIFAR10(str(root), train=train, download=False)
        except RuntimeError as error:
            raise DataError(
                f"no CIFAR-10 below {root}: download cifar-10-python.tar.gz (163 MB) from "
                "https://www.cs.toronto.edu/~kriz/cifar.html, and unpack it there, so that "
                f"{root / 'cifar-10-batches-py'} holds data_batch_1 to 5 and test_batch as they "
                "were published; or try --demo, which needs no data"
            ) from error
        images = torch.from_numpy(np.ascontiguousarray(read.data.transpose(0, 3, 1, 2)))
        parts.append(Images(images, torch.tensor(read.targets)))
    return parts[0], parts[1]


def draw_shapes(count: int, seed: int) -> Images:
    """Ten kinds of shapes and textures, of any color, size and place, on noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    images = np.stack([_shape(int(label), random) for label in labels])
    return Images(torch.from_numpy(images), torch.from_numpy(labels))


def _shape(label: int, random: np.random.Generator) -> NDArray[np.uint8]:
    radius = random.uniform(6, 12)
    row, column = random.uniform(radius, SIZE - radius, 2)
    y, x = np.mgrid[:SIZE, :SIZE] - np.array([row, column])[:, None, None]
    far, near = np.maximum(abs(y), abs(x)), np.minimum(abs(y), abs(x))
    distance, box, period = np.hypot(y, x), far < radius, random.uniform(4, 7)
    rows, columns = y % period < period / 2, x % period < period / 2
    inside = {
        "disc": distance < radius,
        "square": box,
        "triangle": box & (y > 2 * abs(x) - radius),
        "plus": box & (near < radius / 4),
        "ring": (distance < radius) & (distance > 0.6 * radius),
        "diamond": abs(y) + abs(x) < radius,
        "rows": box & rows,
        "columns": box & columns,
        "checkers": box & (rows ^ columns),
        "cross": box & (abs(abs(y) - abs(x)) < radius / 4),
    }
    background = random.uniform(0, 255, (3, 1, 1))
    ink = (background + random.uniform(90, 165, (3, 1, 1))) % 255
    picture = np.where(list(inside.values())[label], ink, background)
    noise = random.normal(0, 20, (3, SIZE, SIZE))
    clipped: NDArray[np.uint8] = (picture + noise).clip(0, 255).astype(np.uint8)
    return clipped


def normalized(images: Tensor) -> Tensor:
    """uint8 images, (B, 3, 32, 32), as float in [-1, 1], channels last."""
    return images.to(memory_format=torch.channels_last).float().div(127.5).sub(1)


def augmented(images: Tensor, random: torch.Generator) -> Tensor:
    """Images shifted by up to four pixels and mirrored; the report says nothing about it."""
    count, size = len(images), torch.arange(SIZE)
    padded = functional.pad(normalized(images), (PADDING,) * 4)
    down, right = torch.randint(2 * PADDING + 1, (2, count, 1), generator=random)
    mirrored = torch.rand(count, 1, generator=random) < 0.5
    columns = torch.where(mirrored, size.flip(0), size) + right
    rows = size + down
    number = torch.arange(count)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)


def teacher_network() -> nn.Module:
    """ResNet-18, with first layers of stride 1: those for large images leave one pixel of 32x32."""
    network: nn.Module = resnet18(weights=None, num_classes=CLASSES)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def student_network() -> nn.Module:
    """Three convolutions and two linear layers; the report says how many, not their widths."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    head = (nn.Linear(128 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    return nn.Sequential(*layers, nn.Flatten(), *head)


def run_experiment(options: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Train the networks that an interrupted run has not finished, and measure all three."""
    folder = Path(options.output).expanduser() / options.name
    settings = {key: value for key, value in vars(options).items() if key not in FREE}
    check_folder(folder, settings)
    device = choose_device(options.device)
    if options.demo:
        count = options.train_images or 1000
        # No training images have the seed of test images.
        train = draw_shapes(count, 2 * options.seed)
        test = draw_shapes(max(100, count // 2), 2 * options.seed + 1)
    else:
        train, test = open_cifar10(Path(options.data_root).expanduser())
        train = Images(*(part[: options.train_images] for part in train))
    folder.mkdir(parents=True, exist_ok=True)
    directory = RunDirectory(folder)  # locks it
    try:
        write_atomically(folder / "settings.json", json.dumps(settings, indent=1))
        teacher: nn.Module | None = None
        results = []
        for name in ("teacher", "student alone", "student distilled"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(options.seed)  # both students start from the same weights
                network = teacher_network() if name == "teacher" else student_network()
            network = network.to(device).to(memory_format=torch.channels_last)
            checkpoint = folder / name.replace(" ", "-")
            if checkpoint.exists():
                network.load_state_dict(read_checkpoint(checkpoint).tensors["network"])
            else:
                taught_by = teacher if name == "student distilled" else None
                for done in epochs(network, taught_by, train, options):
                    found = f"accuracy {100 * accuracy(network, test):.2f} %"
                    say(console, f"{name}, epoch {done}/{options.epochs}: {found}")
                write_checkpoint(checkpoint, {"network": network.state_dict()}, {})
            teacher = teacher or network.eval().requires_grad_(False)
            size, share = sum(one.numel() for one in network.parameters()), accuracy(network, test)
            results.append({"network": name, "parameters": size, "accuracy": share})
        write_atomically(folder / "accuracy.json", json.dumps(results, indent=1))
        return results
    finally:
        directory.close()


def check_folder(folder: Path, settings: dict[str, object]) -> None:
    """Refuse a folder that holds something else than a run with the same settings."""
    if not folder.exists() or {entry.name for entry in folder.iterdir()} <= {"run.lock"}:
        return
    try:
        before = dict(read_json(folder / "settings.json"))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder} exists and is not a run; give another --name") from error
    for key, value in settings.items():
        if before.get(key) != value:
            raise ConfigError(
                f"{folder} holds a run with another {key} ({before.get(key)} -> {value}); give "
                "another --name. The same settings continue an interrupted run"
            )


def epochs(
    network: nn.Module, teacher: nn.Module | None, train: Images, options: argparse.Namespace
) -> Iterator[int]:
    """Train with L = alpha T^2 KL(teacher || student) + (1 - alpha) CE; yield after each epoch."""
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.parameters(), lr=options.lr, foreach=True)
    for epoch in range(options.epochs):
        network.train()
        random = generator(options.seed, "classification", epoch)
        order = torch.randperm(len(train.labels), generator=random)
        for chosen in torch.split(order, options.batch):
            if len(chosen) == 1:  # batch norm cannot normalize over one image
                continue
            images = augmented(train.images[chosen], random).to(device, non_blocking=True)
            labels = train.labels[chosen].to(device, non_blocking=True)
            logits = network(images)
            loss = functional.cross_entropy(logits, labels)
            if teacher is not None:
                with torch.no_grad():
                    answer = teacher(images)
                divergence = distillation_divergence(logits, answer, options.temperature).mean()
                loss = options.alpha * divergence + (1 - options.alpha) * loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if not torch.isfinite(loss.detach()):
            raise TrainingError("the loss is not finite; try a lower --lr or --temperature")
        yield epoch + 1


@torch.no_grad()
def accuracy(network: nn.Module, test: Images) -> float:
    """Share of the images whose label has the largest logit."""
    device = next(network.parameters()).device
    network.eval()
    parts = [network(normalized(part).to(device)) for part in torch.split(test.images, 500)]
    return float((torch.cat(parts).argmax(dim=1).cpu() == test.labels).double().mean())


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, from flags and the file of ``--config``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="YAML with options, such as epochs: 10")
    parser.add_argument("--data-root", metavar="DIR", help="folder with cifar-10-batches-py")
    parser.add_argument("--demo", action="store_true", help="drawn shapes in place of CIFAR-10")
    parser.add_argument("--output", default="runs", help="folder for the run's folder [runs]")
    parser.add_argument("--name", default="distill-cifar10", help="of the run's folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    for flag, kind, low, high, default, about in (
        ("--train-images", int, 2, 1e6, None, "training images [all, of the demo 1000]"),
        ("--epochs", int, 1, 1e6, 30, "passes over the training images, for each network [30]"),
        ("--batch", int, 2, 65_536, 128, "images per step [128]"),
        ("--lr", float, 1e-12, 1e6, 1e-3, "learning rate of Adam [0.001]"),
        ("--alpha", float, 0, 1, 0.9, "weight of the distillation loss [0.9]"),
        ("--temperature", float, 0.01, 1e4, 20.0, "softmax temperature in that loss [20]"),
        ("--seed", int, 0, SEEDS, 0, "seed of weights, order and augmentation [0]"),
    ):
        checked = FlagType(flag, kind, Range(low, high))
        parser.add_argument(flag, type=checked, default=default, help=about)
    file = parser.parse_args(arguments).config
    for key, value in load_yaml(Path(file)).data.items() if file is not None else ():
        if key not in vars(parser.parse_args([])):
            raise ConfigError(f"{file}: unknown key {key!r}")
        # As text: argparse then checks it as it checks a flag.
        parser.set_defaults(**{key: value if key == "demo" else str(value)})
    options = parser.parse_args(arguments)
    check_run_name(options.name)
    if options.demo == (options.data_root is not None):
        raise ConfigError("give either --data-root DIR with cifar-10-batches-py in it, or --demo")
    return options


def distill_cifar10(arguments: Sequence[str]) -> int:
    """Train the three networks and print their accuracy."""
    options = parse(arguments)
    console = new_console()
    table = Table("network", title="shapes" if options.demo else "CIFAR-10")
    for column in ("parameters (M)", "accuracy"):
        table.add_column(column, justify="right")
    for one in run_experiment(options, console):
        size, share = f"{one['parameters'] / 1e6:.3f}", f"{100 * one['accuracy']:.2f}"
        table.add_row(one["network"], size, share)
    show(console, table)
    return 0


if __name__ == "__main__":
    sys.exit(run(distill_cifar10, prints=True))
