"""A method with its optimizer, and one training step of both; the trainer and benchmarks use it."""

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
from mixseg.engine.method import Method, StepRandom, StepResult, mean_result, merged
from mixseg.engine.precision import Precision
from mixseg.engine.regularizer import Regularizer
from mixseg.engine.student import no_gradient_sync
from mixseg.models.model import Normalisation


class Gradients(NamedTuple):
    """Losses and gradient norm of a step, before anything is updated.

    Attributes:
        result: Mean over the micro-batches of the step, without their outputs.
        loss: Their mean loss, a scalar.
        norm: Norm of the unscaled gradients before they were clipped, a scalar.
    """

    result: StepResult
    loss: Tensor
    norm: Tensor


@final
@dataclass(frozen=True)
class Learner:
    """All that a training step updates.

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

    def gradients(self, micro_batches: Sequence[Mapping[str, Batch]], step: int) -> Gradients:
        """Gradients of the mean loss over the micro-batches of a step.

        Args:
            micro_batches: Stream -> batch on any device; several where gradients accumulate.
            step: Number of the step, from 0.
        """
        results, device = [], self.precision.device
        for number, batches in enumerate(micro_batches):
            taken = {name: batch.to(device) for name, batch in batches.items()}
            random = StepRandom.of(self.seed, step, number, device)
            backward = functools.partial(self._backward, 1 / len(micro_batches))
            # Processes average their gradients once, with those of the last micro-batch.
            last = number == len(micro_batches) - 1
            with nullcontext() if last else no_gradient_sync(self.method.student_forward):
                results.append(merged(map(backward, self._loss_terms(taken, step, random))))
        result = mean_result(results)
        loss = torch.stack(list(result.losses.values())).sum()
        return Gradients(result, loss, self._clipped_norm())

    def _loss_terms(
        self, batches: Mapping[str, Batch], step: int, random: StepRandom
    ) -> Iterator[StepResult]:
        """The method's loss terms, one by one unless something needs all graphs at once."""
        # Regularizers read all outputs, and DistributedDataParallel reduces gradients in one
        # backward pass.
        if self.regularizers or world().size > 1:
            with self.precision.autocast():
                result = self.method.step(batches, step, random)
                for regularizer in self.regularizers:
                    result = regularizer(result, step)
            yield result
            return
        terms = self.method.loss_terms(batches, step, random)
        while True:
            with self.precision.autocast():
                term = next(terms, None)
            if term is None:
                return
            yield term
            del term  # its maps are as large as the batch

    def _backward(self, factor: float, result: StepResult) -> StepResult:
        """Backward pass of factor times the losses; returns the result without its graph."""
        self.precision.backward(torch.stack(list(result.losses.values())).sum() * factor)
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
        """Whether the step may be taken; synchronises host and device.

        Gradients of fp16 may overflow: the scaler then skips the step by itself and lowers its
        scale.
        """
        scaler = self.precision.scaler
        overflowing = self.precision.name == "fp16" and scaler.get_scale() >= 1
        watched = gradients.loss if overflowing else gradients.loss + gradients.norm
        return bool(torch.isfinite(watched))

    def move(self, step: int) -> None:
        """Update the student by the optimizer, then what follows it, such as the teacher."""
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if world().size > 1:
            # Before the teacher follows: batch norm has seen this process's shard alone.
            self._average_statistics()
        self.method.after_update(step)

    def _average_statistics(self) -> None:
        networks: list[nn.Module] = list(self.method.networks.values())
        for regularizer in self.regularizers:
            networks += regularizer.networks.values()
        layers = [layer for network in networks for layer in network.modules()]
        average_in_place([buffer for layer in layers for buffer in running_statistics(layer)])


def running_statistics(layer: nn.Module) -> tuple[Tensor, ...]:
    """The floating-point buffers of a layer that differ between processes after a step.

    These are the running statistics that a forward pass has updated from this process's shard.
    Left out are buffers that are equal in all processes: those of layers in evaluation mode, of
    SyncBatchNorm, of layers with momentum 0 (the teacher's), and the constants of Normalisation.
    Averaging equal values over three processes would change their last bits.
    """
    same = isinstance(layer, nn.SyncBatchNorm | Normalisation)
    if same or not layer.training or getattr(layer, "momentum", None) == 0:
        return ()
    own = layer.buffers(recurse=False)
    return tuple(buffer for buffer in own if buffer.is_floating_point())
