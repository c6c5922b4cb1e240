"""The precision of a run where its settings leave it open: the one that is faster here."""

from __future__ import annotations

import copy
import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.distributed import by_first, of_first, share_of
from mixseg.errors import ConfigError
from mixseg.files import write_atomically
from mixseg.training.precision import (
    Precision,
    PrecisionName,
    choose_precision,
    has_bf16,
    has_bf16_gpu,
    named_precision,
    read_precision,
)

LOG = logging.getLogger("mixseg")

Choose = Callable[[nn.Module, torch.device], Precision]
"""(network on its device, device) -> what it is trained in."""

ON_CPU: tuple[PrecisionName, ...] = ("fp32", "bf16")
"""What a CPU can do."""

Timings = Mapping[PrecisionName, Sequence[float]]
"""Precision -> seconds of each round."""

NOT_MEASURED: Timings = {}
"""Of a precision that was chosen by the hardware."""

BUDGET = 3.0
"""Seconds after which no further round of measurements begins, once there are enough."""

LONGEST = 10.0
"""Seconds after which no round begins at all, as on a machine that is busy."""

FEWEST_ROUNDS, MOST_ROUNDS = 3, 9
"""Rounds after the one that warms up."""

PARTS = (1, 2, 4, 8)
"""What the sides of images may be divided by, so that slow steps are measured in the budget."""

SMALLEST_SIDE = 64
"""Pixels below which no side is made smaller."""

LEAST_GAIN = 0.1
"""Part of a step's time in fp32 that another precision has to save."""


def precision_of_run(
    asked: str,
    batch: int,
    size: tuple[int, int],
    recorded: Path | None = None,
    *,
    measure: bool = True,
) -> Choose:
    """How the precision of a run is chosen: by the first of several processes, and for good.

    With ``auto`` on a CPU, bf16 where the network is clearly faster in it on labeled batches of
    random images, else fp32; on a GPU as in :func:`choose_precision`.

    Args:
        asked: ``training.precision``.
        batch: Labeled images in a batch of all processes.
        size: Height and width of labeled images.
        recorded: File of the run that tells the choice, or gets it if it is not there; None keeps
            nothing.
        measure: False: where nothing is recorded, choose by the hardware, as a run of an earlier
            version did.
    """
    shape = (share_of(batch), 3, *size)

    def decide(model: nn.Module, device: torch.device) -> PrecisionName:
        if recorded is not None and recorded.is_file():
            return read_precision(recorded)
        if not measure or device.type == "cuda":
            name, seconds = choose_precision("auto", device, model).name, NOT_MEASURED
        else:
            name, seconds = _measured(model, shape)
        if recorded is not None:
            write_atomically(recorded, json.dumps({"precision": name, "seconds": dict(seconds)}))
        return name

    def choose(model: nn.Module, device: torch.device) -> Precision:
        if asked != "auto":
            return Precision(named_precision(asked), device)
        name = named_precision(of_first(by_first(lambda: decide(model, device)) or ""))
        on_gpu = device.type == "cuda"
        instead = "fp16" if on_gpu else "fp32"
        if (name == "bf16" and on_gpu and not has_bf16_gpu()) or (name == "fp16" and not on_gpu):
            raise ConfigError(
                f"the run is in {name}, which this machine's {device.type} does not have; go on in "
                f"another precision: --precision {instead} --allow-changes"
            )
        return Precision(name, device)

    return choose


def _measured(model: nn.Module, shape: tuple[int, ...]) -> tuple[PrecisionName, Timings]:
    """The one that is clearly faster on this CPU, else fp32; and what both took."""
    if not has_bf16():
        LOG.info("precision fp32: this CPU has no bf16 arithmetic")
        return "fp32", NOT_MEASURED
    seconds = step_times(model, shape, ON_CPU)
    name = clearly_faster(seconds)
    why = "bf16 is not clearly faster here" if name == "fp32" else "clearly faster here"
    found = ", ".join(
        f"{one} {1000 * statistics.median(values):.0f} ms "
        f"({1000 * min(values):.0f} to {1000 * max(values):.0f})"
        for one, values in seconds.items()
        if values
    )
    times = found or "too slow to be timed"
    LOG.info(f"precision {name}: {why}; forward and backward pass: {times}")
    return name, seconds


def clearly_faster(
    seconds: Mapping[PrecisionName, Sequence[float]], than: PrecisionName = "fp32"
) -> PrecisionName:
    """The precision that timings speak for; ``than`` unless the gain is clear.

    Clear is a median that is over :data:`LEAST_GAIN` shorter, where the middle halves of the
    timings do not overlap: other processes lengthen a few timings, and rarely all of one precision.

    Args:
        seconds: Precision -> its timings, taken in turn with those of the others. Fewer than
            :data:`FEWEST_ROUNDS` leave it in doubt.
        than: The precision that is kept in doubt.
    """
    if any(len(found) < FEWEST_ROUNDS for found in seconds.values()):
        return than
    quartiles = {
        name: statistics.quantiles(found, method="inclusive") for name, found in seconds.items()
    }
    first, median, _ = quartiles[than]
    clear = [
        name
        for name, (_, middle, third) in quartiles.items()
        if middle < (1 - LEAST_GAIN) * median and third < first
    ]
    return min(clear, key=lambda name: quartiles[name][1], default=than)


def step_times(
    model: nn.Module, shape: Sequence[int], names: Sequence[PrecisionName]
) -> dict[PrecisionName, list[float]]:
    """Timings of a forward and a backward pass on a CPU, of each precision in turn.

    The rest of a step is the same in all of them, or forward passes again. Where the whole images
    would take longer than the budget, smaller ones are measured, unless the network refuses them.
    The network, its statistics and the global random state stay as they are.

    Args:
        model: On the CPU; called with images it gives logits (B, C, H, W).
        shape: Of the images: B, 3, H, W.
        names: Precisions, measured in turn.

    Returns:
        Name -> seconds, one number for each of :data:`FEWEST_ROUNDS` to :data:`MOST_ROUNDS`
        rounds, and of fewer rounds where they took over :data:`LONGEST`.
    """
    trial = copy.deepcopy(model).train()
    found: dict[PrecisionName, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + LONGEST
    with torch.random.fork_rng(devices=[]):  # for dropout
        images = _affordable(trial, shape, names)
        enough = time.perf_counter() + BUDGET
        for number in range(MOST_ROUNDS):
            if time.perf_counter() > (enough if number >= FEWEST_ROUNDS else end):
                break
            for name in names:
                found[name].append(_seconds(trial, images, name))
    return found


def _affordable(model: nn.Module, shape: Sequence[int], names: Sequence[PrecisionName]) -> Tensor:
    """The largest images whose rounds stay in the budget; the network is warm for them."""
    whole, *others = (_images(shape, part) for part in PARTS)
    probe = others[-1]
    try:
        for _ in range(2):  # the first one includes what is done once
            seconds = sum(_seconds(model, probe, name) for name in names)
    except (RuntimeError, ValueError, AssertionError):  # as of a network for one size
        chosen = whole
    else:
        longest = BUDGET / (FEWEST_ROUNDS + 1) / seconds * probe.numel()
        chosen = next((one for one in (whole, *others) if one.numel() <= longest), probe)
    for name in names:
        _seconds(model, chosen, name)
    return chosen


def _images(shape: Sequence[int], part: int) -> Tensor:
    """Noise; sides that are made smaller are multiples of 32, as backbones want them."""
    sides = shape[2:]
    if part > 1:
        sides = [min(side, max(SMALLEST_SIDE, side // part // 32 * 32)) for side in sides]
    return torch.rand(*shape[:2], *sides, generator=torch.Generator().manual_seed(0))


def _seconds(model: nn.Module, images: Tensor, name: PrecisionName) -> float:
    precision = Precision(name, images.device)
    labels = torch.zeros(images.shape[0], *images.shape[2:], dtype=torch.int64)
    started = time.perf_counter()
    with precision.autocast():
        logits: Tensor = model(images)
        loss = functional.cross_entropy(logits.float(), labels)
    precision.backward(loss)
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - started
