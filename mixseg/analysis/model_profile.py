"""What a network and its training cost: parameters, operations, time and memory."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixseg.config import Settings
from mixseg.data.arrays import Size
from mixseg.data.contract import ClassSet
from mixseg.data.registry import CLASSES
from mixseg.data.streams import Batch
from mixseg.distillation.teachers import find_teacher, fixed_teacher
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.losses import check_loss, needs_frequencies
from mixseg.methods import check_method_name
from mixseg.mixing import check_labeled_mixer
from mixseg.models import model_title
from mixseg.randomness import generator
from mixseg.regularizers import NO_REGULARIZER, check_regularizer
from mixseg.training.build import Given, build_learner
from mixseg.training.data import (
    TrainingData,
    check_data_settings,
    check_dataset_name,
    open_training_data,
    streams_of,
    training_size,
)
from mixseg.training.precision import peak_memory
from mixseg.training.precision_choice import precision_of_run
from mixseg.training.stages import of_one_stage, steps_per_epoch
from mixseg.training.update import Learner

WARMUP = 2
"""Steps that are not measured: the first ones choose algorithms and fill caches."""


@final
@dataclass(frozen=True)
class PartCost:
    """A network, or a part of one.

    Attributes:
        name: Such as ``backbone``.
        parameters: Number of weights, trained or not.
        flops: Floating-point operations of a forward pass of one image: those of convolutions and
            matrix products, a multiplication and an addition counted as two.
    """

    name: str
    parameters: int
    flops: int


@final
@dataclass(frozen=True)
class StepCost:
    """A training step.

    Attributes:
        name: What is trained.
        seconds: Median wall time of a step.
        peak_memory: Most bytes in use: of the GPU's memory since the first step, or of this
            process since it was started.
        steps_per_epoch: Steps of one pass over the labelled images.
    """

    name: str
    seconds: float
    peak_memory: int
    steps_per_epoch: int

    @property
    def seconds_per_epoch(self) -> float:
        """Time of one pass over the labelled images, if reading them does not hold it up."""
        return self.seconds * self.steps_per_epoch


@final
@dataclass(frozen=True)
class ModelProfile:
    """Costs, and the conditions under which they hold.

    Attributes:
        parts: Rows of the table of networks.
        steps: Rows of the table of training steps.
        conditions: Name -> JSON value, such as the device and the batch.
    """

    parts: tuple[PartCost, ...]
    steps: tuple[StepCost, ...]
    conditions: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """A JSON object; seconds, bytes and numbers of operations as they are."""
        return dict(self.conditions) | {
            "networks": [dataclasses.asdict(part) for part in self.parts],
            "training": [
                dataclasses.asdict(step) | {"seconds_per_epoch": step.seconds_per_epoch}
                for step in self.steps
            ],
        }


# Measuring -------------------------------------------------------------------------------------


def part_costs(network: nn.Module, shape: tuple[int, ...]) -> tuple[PartCost, ...]:
    """Costs of the direct parts of a network that have weights, and of all of it as ``total``.

    Nothing is computed: shapes alone go through a copy without values.

    Args:
        network: On any device; it stays as it is.
        shape: Of its input, with a batch of one.
    """
    outline = copy.deepcopy(network).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        outline(torch.empty(shape, device="meta"))
    counts = counter.get_flop_counts()
    costs = [
        PartCost(name, parameters, sum(counts.get(f"{type(network).__name__}.{name}", {}).values()))
        for name, part in network.named_children()
        if (parameters := sum(p.numel() for p in part.parameters()))
    ]
    parameters = sum(p.numel() for p in network.parameters())
    return (*costs, PartCost("total", parameters, counter.get_total_flops()))


def step_cost(
    name: str,
    advance: Callable[[int], object],
    device: torch.device,
    *,
    steps: int,
    per_epoch: int,
) -> StepCost:
    """Take some steps of training and say what one costs.

    Args:
        name: What is trained.
        advance: Takes the step of a number, counted from 0.
        device: On which it works.
        steps: How many are measured, at least one; ``WARMUP`` more come first.
        per_epoch: Steps of one pass over the labelled images.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for step in range(WARMUP + steps):
        wait_for(device)
        started = time.perf_counter()
        advance(step)
        wait_for(device)
        times.append(time.perf_counter() - started)
    return StepCost(name, statistics.median(times[WARMUP:]), peak_memory(device), per_epoch)


def wait_for(device: torch.device) -> None:
    """Return when a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training_step(
    learner: Learner, settings: Settings, batches: Mapping[str, Batch]
) -> Callable[[int], None]:
    """A function that takes the trainer's step on the same batches again and again."""
    micro_batches = [batches] * settings.training.accumulate
    learner.method.student.train()

    def advance(step: int) -> None:
        gradients = learner.gradients(micro_batches, step)
        float(gradients.norm)  # the trainer looks at it
        learner.move(step)

    return advance


def random_batches(
    settings: Settings, sizes: Mapping[str, Size], num_classes: int
) -> dict[str, Batch]:
    """Noise in place of images and labels.

    Args:
        settings: Whose batch sizes are taken.
        sizes: Name of a stream -> height and width.
        num_classes: Labels are drawn from 0 to ``num_classes`` - 1.
    """
    random = generator(settings.seed, "profile")
    batches = {}
    for name, size in sizes.items():
        count = getattr(settings.data, f"batch_{name}")
        labels = torch.full((count, *size), IGNORE, dtype=torch.uint8)
        if name == "labeled":
            labels.random_(0, num_classes, generator=random)
        batches[name] = Batch(
            torch.randint(256, (count, 3, *size), generator=random, dtype=torch.uint8),
            labels,
            torch.ones(count, *size, dtype=torch.bool),
            tuple(f"noise-{index}" for index in range(count)),
        )
    return batches


# From settings to a profile --------------------------------------------------------------------


def profile_run(settings: Settings, *, images: int | None, steps: int) -> ModelProfile:
    """Costs of the run that the settings describe, measured on random images.

    Args:
        settings: Of a run. ImageNet weights are not downloaded, since costs do not depend on them;
            of its stages the last one is measured.
        images: Number of labelled images; None opens the data and counts them.
        steps: Training steps that are measured.

    Raises:
        ConfigError: A name is unknown, or what only data can tell is missing.
        DataError: The data are opened, and not as they should be.
    """
    settings = of_one_stage(settings, -1)
    check_method_name(settings.method)
    check_regularizer(settings)
    check_labeled_mixer(settings.mixing)
    check_loss(settings.supervised_loss)
    check_dataset_name(settings.data.dataset, "data.dataset")
    data: TrainingData | None = None
    if images is None or settings.data.dataset not in CLASSES:
        data = _opened(settings)
        images = images or len(data.split.labeled)
    classes = CLASSES[settings.data.dataset] if data is None else data.classes
    streams = streams_of(settings)
    sizes = {name: training_size(settings, name, data) for name in streams}

    inputs = synthetic_inputs(settings, classes)
    batches = random_batches(settings, sizes, len(classes))
    plain = dataclasses.replace(settings, regularizer=NO_REGULARIZER)
    trained = {settings.method: plain}
    if settings.regularizer != NO_REGULARIZER:
        trained[f"{settings.method}, {settings.regularizer}"] = settings
    costs = []
    for name, one in trained.items():
        choose = precision_of_run(one.training.precision, one.data.batch_labeled, sizes["labeled"])
        learner, _ = build_learner(
            one, len(classes), inputs, download=False, choose=choose, sizes=sizes.values()
        )
        device = learner.precision.device
        per_epoch = steps_per_epoch(images, one.data.batch_labeled, one.training.accumulate)
        advance = training_step(learner, one, batches)
        costs.append(step_cost(name, advance, device, steps=steps, per_epoch=per_epoch))
    parts = part_costs(learner.method.student, (1, 3, *sizes["labeled"]))
    for regularizer in learner.regularizers:
        for name, network in regularizer.networks.items():
            (*_, total) = part_costs(network, (1, len(classes), *sizes["labeled"]))
            parts += (dataclasses.replace(total, name=name),)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return ModelProfile(
        parts,
        tuple(costs),
        {
            "model": model_title(settings.model),
            "classes": len(classes),
            "sizes": sizes,
            "batches": {name: len(batch.images) for name, batch in batches.items()},
            "accumulate": settings.training.accumulate,
            "labeled_images": images,
            "device": gpu or f"{device}, {torch.get_num_threads()} threads",
            "precision": learner.precision.name,
            "measured_steps": steps,
        },
    )


def synthetic_inputs(settings: Settings, classes: ClassSet) -> Given:
    """Stand-ins that cost as much as what the data of a run would give its method."""
    # Any distribution costs the same.
    even = torch.full((len(classes),), 1 / len(classes))
    aligned = settings.targets.alignment != "none"
    counted = needs_frequencies(settings.supervised_loss)
    teacher = find_teacher(settings)
    return Given(
        distribution=even if aligned else None,
        frequencies=even if counted else None,
        teacher=None if teacher is None else fixed_teacher(teacher, classes),
    )


def _opened(settings: Settings) -> TrainingData:
    try:
        check_data_settings(settings)
    except ConfigError as error:
        if settings.data.dataset not in CLASSES:
            raise
        raise ConfigError(
            f"{error}. Without data, say with --images N how many images are labelled"
        ) from error
    return open_training_data(settings)


# Showing ---------------------------------------------------------------------------------------


def profile_tables(profile: ModelProfile) -> tuple[Table, Table]:
    """The networks, and the training steps, for the terminal."""
    conditions = profile.conditions
    sizes = {name: "x".join(map(str, size)) for name, size in conditions["sizes"].items()}
    networks = Table(
        title=f"{conditions['model']}, {conditions['classes']} classes",
        caption=f"forward pass of one image of {sizes['labeled']}; a multiplication and an "
        "addition are two",
        caption_justify="left",
    )
    networks.add_column("network")
    networks.add_column("parameters (M)", justify="right")
    networks.add_column("FLOPs (G)", justify="right")
    for part in profile.parts:
        networks.add_row(part.name, f"{part.parameters / 1e6:.3f}", f"{part.flops / 1e9:.3f}")
    batch = " + ".join(
        f"{count} {'labelled' if name == 'labeled' else 'unlabelled'} images of {sizes[name]}"
        for name, count in conditions["batches"].items()
    )
    if conditions["accumulate"] > 1:
        batch = f"{conditions['accumulate']} times {batch}"
    steps = Table(
        title=f"{conditions['device']}, {conditions['precision']}",
        caption=f"step: {batch}, without reading them; median of {conditions['measured_steps']}. "
        f"Epoch: {conditions['labeled_images']} labelled images; h:mm:ss",
        caption_justify="left",
    )
    steps.add_column("training", no_wrap=True)
    steps.add_column("s/step", justify="right")
    steps.add_column("steps/epoch", justify="right")
    steps.add_column("time/epoch", justify="right")
    steps.add_column("peak GiB", justify="right")
    for step in profile.steps:
        steps.add_row(
            step.name,
            f"{step.seconds:.4f}",
            str(step.steps_per_epoch),
            str(datetime.timedelta(seconds=round(step.seconds_per_epoch))),
            f"{step.peak_memory / 2**30:.2f}",
        )
    return networks, steps
