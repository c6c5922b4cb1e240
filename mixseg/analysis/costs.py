"""What a network and its training cost: parameters, operations, time and memory."""

from __future__ import annotations

import copy
import datetime
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixseg.analysis.noise import NoiseRun, wait_for
from mixseg.config.values import Size
from mixseg.errors import ConfigError
from mixseg.models import model_title
from mixseg.tables import terminal_table
from mixseg.training.precision import peak_memory

WARMUP = 2
"""Steps that are not measured: the first ones choose algorithms and fill caches."""

PROBED_AREAS = (256 * 256, 384 * 384)
"""Pixels of the larger images in the two steps from which the memory of a run is estimated; smaller
images are measured as they are. With less, the allocator's own overhead would dominate."""


class PartCost(NamedTuple):
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


class StepCost(NamedTuple):
    """A training step.

    Attributes:
        name: What is trained.
        seconds: Median wall time of a step.
        peak_memory: Most bytes in use: of the GPU's memory since the first step, or of this
            process since it was started.
        steps_per_epoch: Steps of one pass over the labeled images.
    """

    name: str
    seconds: float
    peak_memory: int
    steps_per_epoch: int

    @property
    def seconds_per_epoch(self) -> float:
        """Time of one pass over the labeled images, if reading them does not hold it up."""
        return self.seconds * self.steps_per_epoch


def part_costs(network: nn.Module, shape: tuple[int, ...]) -> tuple[PartCost, ...]:
    """Costs of the direct parts of a network that have weights, and of all of it as ``total``.

    Nothing is computed: an input's shape alone goes through a copy without values.
    """
    outline = copy.deepcopy(network).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        outline(torch.empty(shape, device="meta"))
    counts = counter.get_flop_counts()
    costs = [
        PartCost(name, parameters, sum(counts.get(f"{type(network).__name__}.{name}", {}).values()))
        for name, part in network.named_children()
        if (parameters := _parameters(part))
    ]
    return (*costs, PartCost("total", _parameters(network), counter.get_total_flops()))


def _parameters(network: nn.Module) -> int:
    return sum(weights.numel() for weights in network.parameters())


def times_of(
    work: Callable[[int], object], device: torch.device, *, rounds: int, warmup: int = WARMUP
) -> list[float]:
    """Seconds that each call of ``work`` with its number takes, without the warm-up."""
    times = []
    for number in range(warmup + rounds):
        wait_for(device)
        started = time.perf_counter()
        work(number)
        wait_for(device)
        times.append(time.perf_counter() - started)
    return times[warmup:]


def step_cost(
    name: str, advance: Callable[[int], object], device: torch.device, *, steps: int, per_epoch: int
) -> StepCost:
    """Time and memory of a training step, measured over ``steps`` after a warm-up."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = times_of(advance, device, rounds=steps)
    return StepCost(name, statistics.median(times), peak_memory(device), per_epoch)


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
            "networks": [part._asdict() for part in self.parts],
            "training": [
                step._asdict() | {"seconds_per_epoch": step.seconds_per_epoch}
                for step in self.steps
            ],
        }

    def tables(self) -> tuple[Table, Table]:
        """The networks, and the training steps, for the terminal."""
        said = self.conditions
        sizes = {name: "x".join(map(str, size)) for name, size in said["sizes"].items()}
        networks = terminal_table(
            ("network", "parameters (M)", "FLOPs (G)"),
            [
                (part.name, f"{part.parameters / 1e6:.3f}", f"{part.flops / 1e9:.3f}")
                for part in self.parts
            ],
            title=f"{said['model']}, {said['classes']} classes",
            notes=[
                f"forward pass of one image of {sizes['labeled']}; a multiplication and an "
                "addition are two"
            ],
        )
        batch = " + ".join(
            f"{count} {name} images of {sizes[name]}" for name, count in said["batches"].items()
        )
        if said["accumulate"] > 1:
            batch = f"{said['accumulate']} times {batch}"
        steps = terminal_table(
            ("training", "s/step", "steps/epoch", "time/epoch", "peak GiB"),
            [
                (
                    step.name,
                    f"{step.seconds:.4f}",
                    str(step.steps_per_epoch),
                    str(datetime.timedelta(seconds=round(step.seconds_per_epoch))),
                    f"{step.peak_memory / 2**30:.2f}",
                )
                for step in self.steps
            ],
            title=f"{said['device']}, {said['precision']}",
            notes=[
                f"step: {batch}, without reading them; median of {said['measured_steps']}. "
                f"Epoch: {said['labeled_images']} labeled images; h:mm:ss"
            ],
        )
        steps.columns[0].no_wrap = True
        return networks, steps


def profile_of(run: NoiseRun, images: int, per_epoch: int, steps: int) -> ModelProfile:
    """Costs of a run, and of its method alone where it has a regularizer."""
    settings = run.settings
    trained = {settings.method: False}
    if settings.regularizer != "none":
        trained[f"{settings.method}, {settings.regularizer}"] = True
    costs = []
    for name, regularized in trained.items():
        learner, advance = run.learner(regularized=regularized, choose=True)
        device = learner.precision.device
        costs.append(step_cost(name, advance, device, steps=steps, per_epoch=per_epoch))
    parts = part_costs(learner.method.student, (1, 3, *run.sizes["labeled"]))
    for regularizer in learner.regularizers:
        for name, network in regularizer.networks.items():
            total = part_costs(network, (1, len(run.classes), *run.sizes["labeled"]))[-1]
            parts += (total._replace(name=name),)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return ModelProfile(
        parts,
        tuple(costs),
        {
            "model": model_title(settings.model),
            "classes": len(run.classes),
            "sizes": dict(run.sizes),
            "batches": run.counts,
            "accumulate": settings.training.accumulate,
            "labeled_images": images,
            "device": gpu or f"{device}, {torch.get_num_threads()} threads",
            "precision": learner.precision.name,
            "measured_steps": steps,
        },
    )


class Needs(NamedTuple):
    """What a run needs.

    Attributes:
        memory: Peak of the training process in bytes, on the GPU or in main memory.
        measured: Pixels of a step -> measured peak in bytes.
        pixels: Pixels of a step of the run.
        checkpoint: Bytes of a checkpoint.
        best: Bytes of the checkpoints of the best networks, all together.
    """

    memory: int
    measured: Mapping[int, int]
    pixels: int
    checkpoint: int
    best: int

    @property
    def is_measured(self) -> bool:
        """Whether the memory was measured at the run's own size."""
        return self.pixels in self.measured


def estimate_needs(run: NoiseRun) -> Needs:
    """The memory that a run will need, from two real steps of it on small noise.

    What a step holds is of two kinds: weights, gradients, optimizer state and the interpreter,
    which do not depend on the images, and activations, which grow with their number of pixels. Both
    are in the peaks of the same step at two sizes, and a line through them gives any other peak.

    Raises:
        TrainingError: The measured steps failed, with the last line of what they said.
    """
    measured = {}
    for area in PROBED_AREAS:
        small = run.at(smaller(run.sizes, area))
        if small.pixels in measured:
            continue
        try:
            probe = small.measure_elsewhere(run.sizes.values())
        except ConfigError:  # the network takes no images of that size; of the run's own it may
            small = run
            probe = run.measure_elsewhere()
        measured[small.pixels] = probe.peak
    memory = extrapolated(measured, run.pixels)
    return Needs(memory, measured, run.pixels, probe.checkpoint, probe.best)


def checkpoints_at_once(steps: int, every: int, keep: int, keep_every: int) -> int:
    """Most checkpoints that a run's folder holds at a time, the one being written among them."""
    for_good = steps // keep_every if keep_every else 0
    return min(keep + 1 + for_good, 1 + math.ceil(steps / every))


def smaller(sizes: Mapping[str, Size], area: int) -> dict[str, Size]:
    """Scale sizes down until the largest has about ``area`` pixels; small enough ones stay.

    The results are multiples of the strides of any network.
    """
    largest = max(height * width for height, width in sizes.values())
    if largest <= area:
        return dict(sizes)
    factor = math.sqrt(area / largest)

    def scaled(length: int) -> int:
        return max(32, 32 * round(length * factor / 32))

    return {name: (scaled(height), scaled(width)) for name, (height, width) in sizes.items()}


def extrapolated(measured: Mapping[int, int], pixels: int) -> int:
    """The peak at a number of pixels: as measured, or on the line through two measured ones."""
    if pixels in measured:
        return measured[pixels]
    (first, low), (second, high) = sorted(measured.items())
    # Noise of the allocator must not make larger images cheaper.
    slope = max(0.0, (high - low) / (second - first))
    return round(high + slope * (pixels - second))
