"""How long a network takes to learn from a batch in each precision, on the machine at hand."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.engine.precision import Precision, PrecisionName

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
