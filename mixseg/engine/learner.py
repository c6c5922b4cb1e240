"""What learns, and one step of it: for the trainer, and for whoever measures or probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mixseg.data.streams import Batch
from mixseg.distributed import average_in_place, world
from mixseg.engine.method import Method, StepRandom, StepResult
from mixseg.engine.precision import Precision
from mixseg.engine.regularizer import Regularizer


class Gradients(NamedTuple):
    """What is known of a step before anything moves.

    Attributes:
        result: What the last part of the step gave, without its outputs.
        loss: The share of the loss that the last part added, a scalar.
        norm: Norm of the unscaled gradients before they were clipped, a scalar.
    """

    result: StepResult
    loss: Tensor
    norm: Tensor


@final
@dataclass(frozen=True)
class Learner:
    """All that a training step moves.

    Attributes:
        method: Takes the step; its student is on the device.
        optimizer: Of the student; its groups know their ``peak_lr``.
        precision: Device, autocast and scaler.
        regularizers: What is added to the losses of the method, in this order.
        seed: Of the run.
        clip_norm: Largest norm of the gradient; None does not clip.
    """

    method: Method
    optimizer: Optimizer
    precision: Precision
    regularizers: tuple[Regularizer, ...]
    seed: int
    clip_norm: float | None

    def set_rate(self, factor: float) -> None:
        """Every group's learning rate as a multiple of its peak."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor

    def set_momentum(self, momentum: float) -> None:
        """Every group's momentum, or beta_1."""
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def gradients(self, parts: Sequence[Mapping[str, Batch]], step: int) -> Gradients:
        """Gradients of the mean loss over the parts of a step.

        Args:
            parts: Stream -> batch on any device, for each part of an accumulated step.
            step: Number of the step, from 0.
        """
        result, loss = StepResult({}, {}), torch.zeros(())
        device = self.precision.device
        for part, batches in enumerate(parts):
            taken = {name: batch.to(device) for name, batch in batches.items()}
            random = StepRandom.of(self.seed, step, part, device)
            with self.precision.autocast():
                result = self.method.step(taken, step, random)
                for regularizer in self.regularizers:
                    result = regularizer(result, step)
            # Maps as large as the batch would otherwise live on until the next step.
            result = result._replace(outputs={})
            loss = torch.stack(list(result.losses.values())).sum() / len(parts)
            self.precision.backward(loss)
        return Gradients(result, loss, self._clipped_norm())

    def _clipped_norm(self) -> Tensor:
        self.precision.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm, foreach=True)
        return norm

    def is_finite(self, gradients: Gradients) -> bool:
        """Whether a step may be taken; the host waits for the device here.

        Gradients of fp16 may overflow: the scaler skips such a step by itself, and looks for a
        scale at which it does not happen.
        """
        scaler = self.precision.scaler
        overflowing = self.precision.name == "fp16" and scaler.get_scale() >= 1
        watched = gradients.loss if overflowing else gradients.loss + gradients.norm
        return bool(torch.isfinite(watched))

    def move(self, step: int) -> None:
        """Move the student along the gradients, and what follows it."""
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if world().size > 1:
            # Batch norm has seen this process's part alone; the average of the networks that
            # follows is then the same in all of them.
            self._average_statistics()
        self.method.after_update(step)

    def _average_statistics(self) -> None:
        parts = (self.method.networks, *(one.networks for one in self.regularizers))
        networks: list[nn.Module] = [network for part in parts for network in part.values()]
        buffers = [buffer for network in networks for buffer in network.buffers()]
        average_in_place([buffer for buffer in buffers if buffer.is_floating_point()])
