"""What learns, and one step of it: for the trainer, and for whoever measures or probes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mixseg.data.streams import Batch
from mixseg.distributed import average_in_place, world
from mixseg.engine.method import Method, StepRandom, StepResult, mean_result, whole_result
from mixseg.engine.precision import Precision
from mixseg.engine.regularizer import Regularizer
from mixseg.engine.student import alone
from mixseg.models.model import Normalisation


class Gradients(NamedTuple):
    """What is known of a step before anything moves.

    Attributes:
        result: What the batches of the step gave on average, without their outputs.
        loss: Their mean loss, a scalar.
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
        """Gradients of the mean loss over the batches of a step.

        Args:
            parts: Stream -> batch on any device, for each of an accumulated step.
            step: Number of the step, from 0.
        """
        results, device = [], self.precision.device
        for number, batches in enumerate(parts):
            taken = {name: batch.to(device) for name, batch in batches.items()}
            random = StepRandom.of(self.seed, step, number, device)
            back = functools.partial(self._back, 1 / len(parts))
            with alone(self.method.ask) if number < len(parts) - 1 else nullcontext():
                results.append(whole_result(map(back, self._results(taken, step, random))))
        result = mean_result(results)
        loss = torch.stack(list(result.losses.values())).sum()
        return Gradients(result, loss, self._clipped_norm())

    def _results(
        self, batches: Mapping[str, Batch], step: int, random: StepRandom
    ) -> Iterator[StepResult]:
        """What the method gives, part by part where nobody needs the graphs of all together."""
        # Regularizers look at all outputs. Several processes reduce their gradients once.
        if self.regularizers or world().size > 1:
            with self.precision.autocast():
                result = self.method.step(batches, step, random)
                for regularizer in self.regularizers:
                    result = regularizer(result, step)
            yield result
            return
        parts = self.method.parts(batches, step, random)
        while True:
            with self.precision.autocast():
                part = next(parts, None)
            if part is None:
                return
            yield part
            del part  # its maps are as large as the batch

    def _back(self, share: float, result: StepResult) -> StepResult:
        """Add the gradients of a share of the losses; what is left has no graph."""
        self.precision.backward(torch.stack(list(result.losses.values())).sum() * share)
        losses = {name: loss.detach() for name, loss in result.losses.items()}
        return result._replace(losses=losses, outputs={})

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
        layers = [layer for network in networks for layer in network.modules()]
        average_in_place([moved for layer in layers for moved in moved_statistics(layer)])


def moved_statistics(layer: nn.Module) -> tuple[Tensor, ...]:
    """What a forward pass may have moved by the batch of this process.

    Nothing of frozen layers, nor of those that follow others, nor constants: a mean over three
    processes is not to the bit what all three have.
    """
    same = isinstance(layer, nn.SyncBatchNorm | Normalisation)
    if same or not layer.training or getattr(layer, "momentum", None) == 0:
        return ()
    own = layer.buffers(recurse=False)
    return tuple(buffer for buffer in own if buffer.is_floating_point())
