"""Forward and backward of one optimizer step, for the trainer and for whoever measures it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from mixseg.data.streams import Batch
from mixseg.engine.method import Method, StepRandom, StepResult
from mixseg.engine.precision import Precision
from mixseg.engine.regularizer import Regularizer


def forward_backward(
    method: Method,
    regularizers: Sequence[Regularizer],
    precision: Precision,
    parts: Sequence[Mapping[str, Batch]],
    seed: int,
    step: int,
) -> tuple[StepResult, Tensor]:
    """Gradients of the mean loss over the parts of a step.

    Args:
        method: What is trained.
        regularizers: What is added to its losses, in this order.
        precision: Autocast and scaler.
        parts: Stream -> batch on any device, for each part of an accumulated step.
        seed: Of the run.
        step: Number of the step, from 0.

    Returns:
        What the last part gave, without its outputs, and the share of the loss that it added.
    """
    result, loss = StepResult({}, {}), torch.zeros(())
    for part, batches in enumerate(parts):
        taken = {name: batch.to(precision.device) for name, batch in batches.items()}
        random = StepRandom.of(seed, step, part, precision.device)
        with precision.autocast():
            result = method.step(taken, step, random)
            for regularizer in regularizers:
                result = regularizer(result, step)
        # Maps as large as the batch would otherwise live on until the next step.
        result = result._replace(outputs={})
        loss = torch.stack(list(result.losses.values())).sum() / len(parts)
        precision.backward(loss)
    return result, loss


def clipped_gradient_norm(optimizer: Optimizer, precision: Precision, clip: float | None) -> Tensor:
    """Norm of the unscaled gradients before they are clipped, if they are; a scalar."""
    precision.scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm, foreach=True)
    return norm
