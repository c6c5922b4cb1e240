"""One update of everything that a run trains; the loop, tools and benchmarks use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mixseg.data.streams import Batch
from mixseg.distributed import average_in_place, world
from mixseg.methods import Method, StepRandom, StreamOutput
from mixseg.models import Normalisation
from mixseg.regularizers.regularizer import Regularizer
from mixseg.training.precision import Precision


@final
class BackwardPass:
    """The :class:`mixseg.methods.Backward` of one micro-batch.

    Regularizers read all outputs of a step: with one, the graphs are kept until :meth:`finish`,
    and one backward pass of the sum of all losses follows.

    Attributes:
        losses: Name -> scalar without gradient, of all losses so far.
        logs: What regularizers log.
    """

    def __init__(
        self, precision: Precision, regularizers: Sequence[Regularizer], factor: float
    ) -> None:
        """Scale all losses by a factor."""
        self.precision = precision
        self.regularizers = regularizers
        self.factor = factor
        self.losses: dict[str, Tensor] = {}
        self.logs: dict[str, Tensor] = {}
        self._waiting: dict[str, Tensor] = {}
        self._outputs: dict[str, StreamOutput] = {}

    def __call__(
        self,
        losses: Mapping[str, Tensor],
        outputs: Mapping[str, StreamOutput] = MappingProxyType({}),
    ) -> None:
        """See :class:`mixseg.methods.Backward`."""
        if self.regularizers:
            self._waiting |= losses
            self._outputs |= outputs
        else:
            self._run(losses)

    def finish(self, step: int) -> None:
        """Let regularizers add their losses, and run what has waited for them."""
        if not self.regularizers:
            return
        for regularizer in self.regularizers:
            losses, logs = regularizer(self._outputs, step)
            self._waiting |= losses
            self.logs |= logs
        self._run(self._waiting)
        self._waiting, self._outputs = {}, {}

    def _run(self, losses: Mapping[str, Tensor]) -> None:
        # The method's step is inside autocast, which a backward pass must not be. Copies of the
        # weights that autocast keeps belong to the graph that is freed.
        with torch.autocast(self.precision.device.type, enabled=False):
            self.precision.backward(torch.stack(list(losses.values())).sum() * self.factor)
        torch.clear_autocast_cache()
        self.losses |= {name: loss.detach() for name, loss in losses.items()}


class Gradients(NamedTuple):
    """Losses and gradient norm of a step, before anything is updated.

    Attributes:
        losses: Name -> scalar, the mean over the micro-batches.
        logs: Name -> further values of the step, the mean over the micro-batches.
        loss: Sum of the losses, a scalar.
        norm: Norm of the unscaled gradients before they were clipped, a scalar.
    """

    losses: dict[str, Tensor]
    logs: dict[str, Tensor]
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
        device, losses, logs = self.precision.device, [], []
        for number, batches in enumerate(micro_batches):
            batch = {name: one.to(device) for name, one in batches.items()}
            rng = StepRandom.of(self.seed, step, number, device)
            backward = BackwardPass(self.precision, self.regularizers, 1 / len(micro_batches))
            with self.precision.autocast():
                logged = self.method.step(batch, rng, backward)
                backward.finish(step)
            losses.append(backward.losses)
            logs.append({**logged, **backward.logs})
        mean = _mean(losses)
        return Gradients(mean, _mean(logs), torch.stack(list(mean.values())).sum(), self._norm())

    def _norm(self) -> Tensor:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        average_in_place(gradients)
        self.precision.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm, foreach=True)
        return norm

    def is_finite(self, gradients: Gradients) -> bool:
        """Whether the step may be taken; synchronizes host and device.

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
            networks: list[nn.Module] = list(self.method.networks.values())
            networks += [one for each in self.regularizers for one in each.networks.values()]
            layers = [layer for network in networks for layer in network.modules()]
            average_in_place([buffer for layer in layers for buffer in running_statistics(layer)])
        self.method.after_update(step)


def _mean(micro_batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each value over the micro-batches of a step."""
    first, *others = micro_batches
    if not others:
        return dict(first)
    return {name: torch.stack([one[name] for one in micro_batches]).mean(dim=0) for name in first}


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
