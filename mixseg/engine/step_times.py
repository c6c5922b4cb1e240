"""How long a network takes to learn from a batch in each precision, on the machine at hand."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.engine.precision import Precision, PrecisionName

BUDGET = 3.0
"""Seconds after which no further round of measurements begins."""

MOST_ROUNDS = 5
"""Rounds after the one that warms up."""


def step_times(
    model: nn.Module, shape: Sequence[int], names: Sequence[PrecisionName]
) -> dict[str, float]:
    """Seconds of a forward and a backward pass on a CPU, for each precision.

    The rest of a step is the same in all of them, or forward passes again. The network, its
    statistics and the global random state stay as they are.

    Args:
        model: On the CPU; called with images it gives logits (B, C, H, W).
        shape: Of the images: B, 3, H, W.
        names: Precisions, measured in turn.

    Returns:
        Name -> the shortest time. Where one round takes longer than the budget, its times are
        taken, though they include what is done once.
    """
    trial = copy.deepcopy(model).train()
    random = torch.Generator().manual_seed(0)
    images = torch.rand(*shape, generator=random)
    labels = torch.zeros(shape[0], *shape[2:], dtype=torch.int64)
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):  # for dropout
        best: dict[str, float] = {name: _seconds(trial, images, labels, name) for name in names}
        for number in range(MOST_ROUNDS):
            if time.perf_counter() - started > BUDGET:
                break
            found: dict[str, float] = {
                name: _seconds(trial, images, labels, name) for name in names
            }
            # The round before the first of these warmed up.
            best = found if number == 0 else {key: min(best[key], found[key]) for key in found}
    return best


def _seconds(model: nn.Module, images: Tensor, labels: Tensor, name: PrecisionName) -> float:
    precision = Precision(name, images.device)
    started = time.perf_counter()
    with precision.autocast():
        logits: Tensor = model(images)
        loss = functional.cross_entropy(logits.float(), labels)
    precision.backward(loss)
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - started
