"""The training loop and its step, for every method: read :func:`train` from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_high
from types import MappingProxyType
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mixseg.config.sections import Settings
from mixseg.data.streams import Batch
from mixseg.distributed import average_in_place, largest, texts, world
from mixseg.errors import InterruptionError, TrainingError
from mixseg.evaluation.scores import Scores
from mixseg.interruption import Interruption
from mixseg.methods import Method, StepRandom, StreamOutput
from mixseg.models import Normalisation
from mixseg.regularizers.regularizer import Regularizer
from mixseg.training.precision import Precision, PrecisionName, peak_memory
from mixseg.training.state import Run

LOG = logging.getLogger("mixseg")

OnProgress = Callable[[int, int, str], None]
"""Called with the steps done, all steps, and a short note; first before the first step."""


@final
@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        scores: Network -> scores after the last step; empty for an interrupted run.
        best: Network -> (step, scores) of its best validation.
        exit_code: 0, or what an interrupted process exits with.
        step: Steps done.
        seconds_per_step: Median wall time of a step in this process.
        peak_memory: Most bytes in use, on the GPU or in this process.
        precision: The one that ``auto`` has chosen, or that was asked for.
        settings: Settings of the run.
    """

    scores: dict[str, Scores]
    best: dict[str, tuple[int, Scores]]
    exit_code: int
    step: int
    seconds_per_step: float
    peak_memory: int
    precision: PrecisionName
    settings: Settings

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} mIoU {one.miou:.4f}" for name, one in self.scores.items())
        return f"<Outcome: step {self.step}, {scores or f'exit code {self.exit_code}'}>"


def train(run: Run, on_progress: OnProgress | None = None, *, save_first: bool = False) -> Outcome:
    """Train from the current step to the last.

    Networks, files and position of the run are updated. ``save_first`` writes the checkpoint that
    the run goes on from again, with its present settings and data, which differ from those it
    holds.

    Raises:
        TrainingError: A loss or gradient is not finite. No network was updated in that step.
        DataError: A file is damaged; the run is saved before.
        CheckpointError: A checkpoint could not be written.
    """
    learner, training, position = run.learner, run.settings.training, run.position
    first, total, accumulate = position.step, training.iterations, training.accumulate
    save_every = run.settings.checkpoints.every
    scores: dict[str, Scores] = {}
    times: list[float] = []
    tell = on_progress or (lambda done, total, note: None)
    for logger in run.loggers:
        logger.begin(first, position.logged)
    with Interruption() as interruption:
        try:
            if save_first and first:
                run.save()
            tell(first, total, "")
            if first and run.is_due(first) and position.validated != first:
                scores = run.validate()
            elif first == total:
                return _outcome(run, run.score(), 0, times)
            batches = {
                name: stream(first * accumulate, total * accumulate)
                for name, stream in run.streams.items()
            }
            learner.method.student.train()
            for step in range(first, total):
                started = time.perf_counter()
                run.set_rate(step)

                # Fetch, step, guard, update.
                micro_batches = run.fetch(batches, accumulate)
                gradients = learner.gradients(micro_batches, step)
                stop_unless_finite(learner, gradients, step, micro_batches)
                learner.update(step)
                done = position.step = step + 1
                times.append(time.perf_counter() - started)
                if training.compile and step == first:
                    LOG.info(f"torch.compile: the first step took {times[-1]:.0f} s")

                # Log.
                if done % training.log_every == 0 or done == total:
                    record = record_of(run, gradients, step)
                    run.log(record | {"seconds": round(times[-1], 4)})
                    tell(done, total, _note(record))
                    run.name_void()

                # Save, before the validation: whatever ends it loses no step, and a run that goes
                # on from here does it again.
                if done % save_every == 0 or done == total:
                    run.save()

                # Validate.
                if run.is_due(done):
                    scores = run.validate()
            run.save()  # with the best scores
            return _outcome(run, scores, 0, times)
        except InterruptionError:
            if position.step > run.saved:
                run.save()
            return _outcome(run, {}, largest(interruption.exit_code), times)
        finally:
            for logger in run.loggers:
                logger.close()


def stop_unless_finite(
    learner: Learner, gradients: Gradients, step: int, micro_batches: Sequence[Mapping[str, Batch]]
) -> None:
    """Raise a TrainingError where a loss or gradient is not finite."""
    # Synchronizes with the GPU once per step: a step that must not count has to be known before
    # optimizer and teacher are updated. (The scaler of fp16 synchronizes as well.)
    if learner.is_finite(gradients):
        return
    values = {name: float(value) for name, value in gradients.losses.items()}
    own = ", ".join(name for batch in micro_batches for one in batch.values() for name in one.ids)
    stopped = TrainingError(
        f"step {step + 1}: loss or gradient is not finite (losses {values}, gradient norm "
        f"{float(gradients.norm)}). Images of the step: {', '.join(texts(own))}. The network was "
        "not updated; the checkpoints so far are intact. Try a lower --lr, --precision fp32 or "
        "optimizer.clip_norm"
    )
    stopped.everywhere = True  # losses and gradients are those of all processes
    raise stopped


def record_of(run: Run, gradients: Gradients, step: int) -> dict[str, float]:
    """What is logged of a step."""
    record = {
        "lr": run.schedule(step) * float(run.learner.optimizer.defaults["lr"]),
        "gradient_norm": float(gradients.norm),
    }
    record |= {f"loss/{name}": float(value) for name, value in gradients.losses.items()}
    record |= {name: float(value) for name, value in gradients.logs.items() if not value.dim()}
    if run.momentum is not None:
        record["momentum"] = run.momentum(step)
    for name, values in gradients.logs.items():
        if values.dim():  # one for each class
            shares = zip(run.card["classes"]["names"], values.tolist(), strict=True)
            record |= {f"{name}/{one}": share for one, share in shares}
    return record


def _note(record: Mapping[str, float]) -> str:
    total = sum(value for name, value in record.items() if name.startswith("loss/"))
    confident = f" confident {record['confident']:.0%}" if "confident" in record else ""
    return f"loss {total:.3f}{confident}"


def _outcome(run: Run, scores: dict[str, Scores], code: int, times: list[float]) -> Outcome:
    precision = run.learner.precision
    return Outcome(
        scores,
        run.position.best,
        code,
        run.position.step,
        median_high(times) if times else 0.0,
        peak_memory(precision.device),
        precision.name,
        run.settings,
    )


# One step ----------------------------------------------------------------------------------------


class Gradients(NamedTuple):
    """Losses and gradient norm of a step, before anything is updated: means over the micro-batches.

    ``losses`` and ``logs`` are by name, ``loss`` is the sum of the losses, and ``norm`` that of the
    unscaled gradients before they were clipped.
    """

    losses: dict[str, Tensor]
    logs: dict[str, Tensor]
    loss: Tensor
    norm: Tensor


@final
@dataclass(frozen=True)
class Learner:
    """All that a training step updates.

    The method's student is on the device; the optimizer's groups know their ``peak_lr``;
    regularizers add to the losses of the method, in this order; ``clip_norm`` None does not clip.
    """

    method: Method
    optimizer: Optimizer
    precision: Precision
    regularizers: tuple[Regularizer, ...]
    seed: int
    clip_norm: float | None

    def set_rate(self, factor: float, momentum: float | None = None) -> None:
        """Set the learning rate of every group to a multiple of its peak, and its momentum (beta_1)
        unless it is None.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
            if momentum is not None and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif momentum is not None:
                group["momentum"] = momentum

    def gradients(self, micro_batches: Sequence[Mapping[str, Batch]], step: int) -> Gradients:
        """Gradients of the mean loss over the micro-batches (stream -> batch) of a step, from 0."""
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

        Gradients of fp16 may overflow: the scaler then skips the step and lowers its scale.
        """
        scaler = self.precision.scaler
        overflowing = self.precision.name == "fp16" and scaler.get_scale() >= 1
        watched = gradients.loss if overflowing else gradients.loss + gradients.norm
        return bool(torch.isfinite(watched))

    def update(self, step: int) -> None:
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


@final
class BackwardPass:
    """The :class:`mixseg.methods.Backward` of one micro-batch; it scales all losses by a factor.

    Regularizers read all outputs of a step: with one, the graphs are kept until :meth:`finish`, and
    one backward pass of the sum of all losses follows.
    """

    def __init__(
        self, precision: Precision, regularizers: Sequence[Regularizer], factor: float
    ) -> None:
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


def _mean(micro_batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    first, *others = micro_batches
    if not others:
        return dict(first)
    return {name: torch.stack([one[name] for one in micro_batches]).mean(dim=0) for name in first}


def running_statistics(layer: nn.Module) -> tuple[Tensor, ...]:
    """The floating-point buffers of a layer that differ between processes after a step.

    A forward pass has updated them from this process's shard. Left out are those of layers in
    evaluation mode, of SyncBatchNorm, of layers with momentum 0 (the teacher's), and the constants
    of Normalisation: averaging equal values over three processes would change their last bits.
    """
    same = isinstance(layer, nn.SyncBatchNorm | Normalisation)
    if same or not layer.training or getattr(layer, "momentum", None) == 0:
        return ()
    own = layer.buffers(recurse=False)
    return tuple(buffer for buffer in own if buffer.is_floating_point())
