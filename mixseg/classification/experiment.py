"""Teacher, student alone, and student distilled from the teacher, trained one after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, final

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.classification.data import Labelled, draw_shapes, open_cifar10
from mixseg.classification.networks import student_network, teacher_network
from mixseg.config.ranges import SEEDS, Range, check_numbers, check_run_name
from mixseg.errors import CheckpointError, ConfigError, TrainingError
from mixseg.files import read_bytes, read_json, read_text, write_atomically
from mixseg.losses import distillation_divergence
from mixseg.randomness import generator
from mixseg.training.precision import choose_device
from mixseg.training.run_directory import RunDirectory

PADDING = 4
"""Pixels by which training images are shifted at most."""

FREE = ("data_root", "output", "name", "device")
"""Settings in which the processes of a run may differ."""

OnEpoch = Callable[[str, int, int, float], None]
"""Called with the name of a network, epochs done and of all, and its accuracy on test images."""


@final
@dataclass(frozen=True)
class ClassificationSettings:
    """The constants of Karlı, experiment A."""

    data_root: str | None = None
    """Folder that holds cifar-10-batches-py."""
    demo: bool = False
    """Generated shapes in place of CIFAR-10."""
    train_images: Annotated[int | None, Range(2, 1e6)] = None
    """Number of training images; by default all, of the demo 1000. Batch norm cannot normalise over
    one image."""
    epochs: Annotated[int, Range(1, 1e6)] = 30
    """Passes over the training images, for each network."""
    batch: Annotated[int, Range(2, 65_536)] = 128
    """Images per step."""
    lr: Annotated[float, Range(1e-12, 1e6)] = 1e-3
    """Learning rate of Adam."""
    alpha: Annotated[float, Range(0, 1)] = 0.9
    """Share of the distillation loss."""
    temperature: Annotated[float, Range(0.01, 10_000)] = 20.0
    """Temperature of the softmax in the distillation loss."""
    seed: Annotated[int, Range(0, SEEDS)] = 0
    """Seed of weights, order and augmentation."""
    output: str = "runs"
    """Folder in which the run gets a folder of its own."""
    name: str = "distill-cifar10"
    """Name of the run's folder."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_run_name(self.name)
        if self.demo and self.data_root is not None:
            raise ConfigError("demo needs no data_root; give one of them")
        if not self.demo and self.data_root is None:
            raise ConfigError(
                "data_root is missing: --data-root DIR with cifar-10-batches-py in it, or --demo"
            )


@final
@dataclass(frozen=True)
class Accuracy:
    """One line of the result.

    Attributes:
        network: ``teacher``, ``student alone`` or ``student distilled``.
        parameters: Number of weights.
        accuracy: Share of the test images that it names rightly, after the last epoch.
    """

    network: str
    parameters: int
    accuracy: float


def run_experiment(settings: ClassificationSettings, on_epoch: OnEpoch) -> list[Accuracy]:
    """Train the three networks, or those that an interrupted run has not finished.

    The folder gets ``settings.json``, the weights of each network once it is trained, and
    ``accuracy.json``.

    Raises:
        ConfigError: The folder has a run with other settings.
        DataError: There is no data.
        CheckpointError: Weights of an earlier process are damaged.
        TrainingError: The loss is not finite.
    """
    folder = Path(settings.output).expanduser() / settings.name
    content = {key: value for key, value in asdict(settings).items() if key not in FREE}
    record = json.dumps(content, indent=1)
    _check_folder(folder, content)
    device = choose_device(settings.device)
    train, test = _data(settings)
    folder.mkdir(parents=True, exist_ok=True)
    run = RunDirectory(folder)  # locks it
    try:
        write_atomically(folder / "settings.json", record)
        return _train_all(settings, train, test, folder, device, on_epoch)
    finally:
        run.close()


def _train_all(
    settings: ClassificationSettings,
    train: Labelled,
    test: Labelled,
    folder: Path,
    device: torch.device,
    on_epoch: OnEpoch,
) -> list[Accuracy]:
    teacher: nn.Module | None = None
    results = []
    for name, build, taught in (
        ("teacher", teacher_network, False),
        ("student alone", student_network, False),
        ("student distilled", student_network, True),
    ):
        # Both students start from the same weights.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = build().to(device).to(memory_format=torch.channels_last)
        file = folder / f"{name.replace(' ', '-')}.safetensors"
        if file.is_file():
            _restore(network, file)
        else:
            _train(network, teacher if taught else None, train, test, settings, name, on_epoch)
            weights = {key: value.contiguous() for key, value in network.state_dict().items()}
            saved = safetensors.torch.save(weights)
            write_atomically(file.with_suffix(".sha256"), hashlib.sha256(saved).hexdigest())
            write_atomically(file, saved)
        teacher = teacher or network.eval().requires_grad_(False)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        results.append(Accuracy(name, parameters, accuracy(network, test)))
    write_atomically(
        folder / "accuracy.json", json.dumps([asdict(one) for one in results], indent=1)
    )
    return results


def _check_folder(folder: Path, content: dict[str, Any]) -> None:
    saved = folder / "settings.json"
    if not folder.exists() or {entry.name for entry in folder.iterdir()} <= {"run.lock"}:
        return
    try:
        before = dict(read_json(saved))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder} is there already, and no run; give another --name") from error
    keys = [key for key in content if before.get(key) != content[key]]
    if keys:
        other = "; ".join(f"{key}: {before.get(key)} -> {content[key]}" for key in keys)
        raise ConfigError(
            f"{folder} is there already, with other settings ({other}); give another --name. The "
            "same settings go on with an interrupted run"
        )


def _data(settings: ClassificationSettings) -> tuple[Labelled, Labelled]:
    if settings.demo:
        count = settings.train_images or 1000
        # The test images are others than those of any training seed.
        tested = max(100, count // 2)
        return draw_shapes(count, 2 * settings.seed), draw_shapes(tested, 2 * settings.seed + 1)
    assert settings.data_root is not None
    train, test = open_cifar10(Path(settings.data_root).expanduser())
    kept = settings.train_images or len(train.labels)
    return Labelled(train.images[:kept], train.labels[:kept]), test


def _restore(network: nn.Module, file: Path) -> None:
    try:
        saved = read_bytes(file)
        wanted = read_text(file.with_suffix(".sha256"), encoding="ascii")
        if hashlib.sha256(saved).hexdigest() != wanted:
            raise ValueError("its hash is another one")
        network.load_state_dict(safetensors.torch.load(saved))
    except Exception as error:  # a damaged file fails in many ways
        raise CheckpointError(f"{file}: damaged; remove it to train this network again") from error


def _train(
    network: nn.Module,
    teacher: nn.Module | None,
    train: Labelled,
    test: Labelled,
    settings: ClassificationSettings,
    name: str,
    on_epoch: OnEpoch,
) -> None:
    """L = alpha T^2 KL(teacher || student) + (1 - alpha) CE, or CE without a teacher.

    The report says nothing of augmentation; images are shifted and mirrored, as is common.
    """
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr, foreach=True)
    for epoch in range(settings.epochs):
        network.train()
        random = generator(settings.seed, "classification", epoch)
        order = torch.randperm(len(train.labels), generator=random)
        for chosen in torch.split(order, settings.batch):
            if len(chosen) == 1:  # batch norm cannot normalise over one
                continue
            images = augmented(train.images[chosen], random).to(device, non_blocking=True)
            labels = train.labels[chosen].to(device, non_blocking=True)
            logits = network(images)
            loss = functional.cross_entropy(logits, labels)
            if teacher is not None:
                with torch.no_grad():
                    answer = teacher(images)
                divergence = distillation_divergence(logits, answer, settings.temperature).mean()
                loss = settings.alpha * divergence + (1 - settings.alpha) * loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if not torch.isfinite(loss.detach()):
            raise TrainingError(
                f"{name}: the loss is not finite; try a lower --lr or --temperature"
            )
        on_epoch(name, epoch + 1, settings.epochs, accuracy(network, test))


def normalised(images: Tensor) -> Tensor:
    """uint8 images, (B, 3, 32, 32), as float in [-1, 1], channels last."""
    return images.to(memory_format=torch.channels_last).float().div(127.5).sub(1)


def augmented(images: Tensor, random: torch.Generator) -> Tensor:
    """Images shifted by up to four pixels and mirrored, each by itself; float in [-1, 1]."""
    count = len(images)
    padded = functional.pad(normalised(images), (PADDING,) * 4)
    down, right = torch.randint(2 * PADDING + 1, (2, count, 1), generator=random)
    size = torch.arange(images.shape[-1])
    mirrored = torch.rand(count, 1, generator=random) < 0.5
    columns = torch.where(mirrored, size.flip(0), size) + right
    rows = size + down
    number = torch.arange(count)[:, None, None]
    shifted = padded.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(network: nn.Module, test: Labelled) -> float:
    """Share of the images whose label has the largest logit."""
    device = next(network.parameters()).device
    network.eval()
    right = 0
    for images, labels in zip(*(torch.split(part, 500) for part in test), strict=True):
        answers = network(normalised(images).to(device)).argmax(dim=1)
        right += int((answers.cpu() == labels).sum())
    return right / len(test.labels)
