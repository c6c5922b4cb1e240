"""The training loop, for every method: one function that is read from top to bottom."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median_high
from typing import Any, final

import torch
from torch import Tensor

from mixseg.config.sections import Settings
from mixseg.data.streams import Batch
from mixseg.distributed import by_first, largest, texts, together, world
from mixseg.errors import DataError, InterruptionError, TrainingError
from mixseg.evaluation.scores import Scores
from mixseg.interruption import Interruption
from mixseg.models import SegmentationModel
from mixseg.training.best_networks import BestNetworks
from mixseg.training.checkpoint import CheckpointStore
from mixseg.training.loggers import Logger
from mixseg.training.precision import PrecisionName, any_sizes, peak_memory
from mixseg.training.run_directory import RunDirectory
from mixseg.training.schedules import Schedule
from mixseg.training.skipped import SkippedSamples
from mixseg.training.stages import Stage
from mixseg.training.state import Position, random_states, saved_state
from mixseg.training.update import Gradients, Learner

LOG = logging.getLogger("mixseg")

MOST_VOID = 10
"""Label files without a labeled pixel that a run names; further ones are not mentioned."""

Stream = Callable[[int, int], Iterator[Batch]]
"""(number of the first batch, number after the last) -> batches on the CPU."""

OnProgress = Callable[[int, int, str], None]
"""Called with the steps done, all steps, and a short note; first before the first step."""


@final
@dataclass
class Run:
    """The parts of a run.

    Attributes:
        learner: What is trained.
        streams: Name -> batches, for every stream of the method.
        stages: Of the run, in order.
        schedule: Factor of the learning rate.
        momentum: Momentum of each step; None leaves it as it is.
        validate: Scores of a network.
        folder: Where files go.
        settings: Lengths and intervals; all of them are kept as a record.
        card: Metadata of a checkpoint: model, classes, preprocessing.
        loggers: Of the process that writes; the others have none.
        skipped: Takes in samples that could not be read; None where they end the run.
        position: How far the run is.
        saved: Step of the last checkpoint.
        void: Label files without a labeled pixel since the last logged step.
        named: Those that a message has named.
    """

    learner: Learner
    streams: Mapping[str, Stream]
    stages: Sequence[Stage]
    schedule: Schedule
    momentum: Schedule | None
    validate: Callable[[SegmentationModel], Scores]
    folder: RunDirectory
    settings: Settings
    card: Mapping[str, Any]
    loggers: Sequence[Logger]
    skipped: SkippedSamples | None
    position: Position = field(default_factory=Position)
    saved: int = 0
    void: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        kept = self.settings.checkpoints
        self.store = CheckpointStore(self.folder.checkpoints, kept.keep, kept.keep_every)
        self.best = BestNetworks(self.folder.checkpoints)


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
        precision: What ``auto`` has chosen, or what was asked for.
        settings: Of the run.
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
        """One line: where the run ended and the mean IoU of its networks."""
        scores = ", ".join(f"{name} mIoU {one.miou:.4f}" for name, one in self.scores.items())
        return f"<Outcome: step {self.step}, {scores or f'exit code {self.exit_code}'}>"


def train(run: Run, on_progress: OnProgress | None = None, *, save_first: bool = False) -> Outcome:
    """Train from the current step to the last.

    Args:
        run: Its networks, files and position are updated.
        on_progress: Told of each logged step.
        save_first: Write the checkpoint that the run goes on from again, with its present settings
            and data: they differ from those that it holds.

    Raises:
        TrainingError: A loss or gradient is not finite. No network was updated in that step.
        DataError: A file is damaged; the run is saved before.
        CheckpointError: A checkpoint could not be written.
    """
    learner, training, position = run.learner, run.settings.training, run.position
    first, total, accumulate = position.step, training.iterations, training.accumulate
    scores: dict[str, Scores] = {}
    times: list[float] = []
    tell = on_progress or (lambda done, total, note: None)
    for logger in run.loggers:
        logger.begin(first, position.logged)
    with Interruption() as interruption:
        try:
            if save_first and first:
                save(run)
            tell(first, total, "")
            if first and is_due(run, first) and position.validated != first:
                scores = validate(run)
            elif first == total:
                return outcome_of(run, score(run), 0, times)
            batches = {
                name: stream(first * accumulate, total * accumulate)
                for name, stream in run.streams.items()
            }
            learner.method.student.train()
            for step in range(first, total):
                started = time.perf_counter()
                set_rate(run, step)
                micro_batches = fetch(run, batches, accumulate)
                gradients = learner.gradients(micro_batches, step)
                stop_unless_finite(run, gradients, step, micro_batches)
                learner.move(step)
                done = position.step = step + 1
                times.append(time.perf_counter() - started)
                if training.compile and step == first:
                    LOG.info(f"torch.compile: the first step took {times[-1]:.0f} s")
                if done % training.log_every == 0 or done == total:
                    record = record_of(run, gradients, step)
                    log(run, record | {"seconds": round(times[-1], 4)})
                    tell(done, total, _note(record))
                    name_void(run)
                # Before the validation: whatever ends it loses no step, and a run that goes on from
                # here does it again.
                if done % run.settings.checkpoints.every == 0 or done == total:
                    save(run)
                if is_due(run, done):
                    scores = validate(run)
            save(run)  # with the best scores
            return outcome_of(run, scores, 0, times)
        except InterruptionError:
            if position.step > run.saved:
                save(run)
            return outcome_of(run, {}, largest(interruption.exit_code), times)
        finally:
            for logger in run.loggers:
                logger.close()


def set_rate(run: Run, step: int) -> None:
    """Give the optimizer the learning rate of a step, and its momentum where that changes."""
    run.learner.set_rate(run.schedule(step))
    if run.momentum is not None:
        run.learner.set_momentum(run.momentum(step))


def fetch(
    run: Run, batches: Mapping[str, Iterator[Batch]], accumulate: int
) -> list[dict[str, Batch]]:
    """The micro-batches of a step; the run is saved before a bad file ends it.

    Raises:
        InterruptionError: A signal has asked the run to stop; it does so here, after a step, or in
            a validation.
    """

    def take() -> list[dict[str, Batch]]:
        return [{name: next(one) for name, one in batches.items()} for _ in range(accumulate)]

    with saved_on_error(run):
        micro_batches = together(take)
        if run.skipped is not None:
            run.skipped.note(all_batches(micro_batches))
        if run.stages[0].crop is None:
            _check_alike(micro_batches)
    run.void |= {label for batch in all_batches(micro_batches) for label in batch.void}
    return micro_batches


def stop_unless_finite(
    run: Run, gradients: Gradients, step: int, micro_batches: Sequence[Mapping[str, Batch]]
) -> None:
    """Raise a TrainingError where a loss or gradient is not finite."""
    # Synchronizes with the GPU once per step: a step that must not count has to be known before
    # optimizer and teacher are updated. (The scaler of fp16 synchronizes as well.)
    if run.learner.is_finite(gradients):
        return
    values = {name: float(value) for name, value in gradients.losses.items()}
    own = ", ".join(name for batch in all_batches(micro_batches) for name in batch.ids)
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
    optimizer = run.learner.optimizer
    record = {
        "lr": run.schedule(step) * float(optimizer.defaults["lr"]),
        "gradient_norm": float(gradients.norm),
    }
    record |= {f"loss/{name}": float(value) for name, value in gradients.losses.items()}
    classes = {name: value for name, value in gradients.logs.items() if value.dim()}
    record |= {name: float(value) for name, value in gradients.logs.items() if not value.dim()}
    if run.momentum is not None:
        record["momentum"] = run.momentum(step)
    for name, values in classes.items():
        shares = zip(run.card["classes"]["names"], values.tolist(), strict=True)
        record |= {f"{name}/{one}": share for one, share in shares}
    return record


def log(run: Run, values: Mapping[str, float | None]) -> None:
    """Write values after the current step; all processes call this.

    Raises:
        TrainingError: The disk is full.
    """

    def write() -> None:
        for logger in run.loggers:
            logger.log(run.position.step, values)

    by_first(write)


def name_void(run: Run) -> None:
    """Say once which label files hold nothing but ignored pixels, the first of them by name."""
    known = run.named
    found = {label for one in texts(json.dumps(sorted(run.void))) for label in json.loads(one)}
    run.void.clear()
    for label in sorted(found - known):
        known.add(label)
        if len(known) <= MOST_VOID:
            rest = "; more are not named here" if len(known) == MOST_VOID else ""
            LOG.info(
                f"note: {label} holds nothing but ignored pixels and teaches nothing; "
                f"mixseg check-data finds all such labels{rest}"
            )


def is_due(run: Run, done: int) -> bool:
    """Whether a validation follows a number of steps."""
    every = run.settings.validation.every
    return done == run.settings.training.iterations or bool(every and done % every == 0)


def validate(run: Run) -> dict[str, Scores]:
    """Scores after the current step, logged; the run is saved before a bad file ends it."""
    with saved_on_error(run):
        scores = score(run)
    position = run.position
    position.validated = position.step
    # How many classes the mean is over is written where it is not all of them.
    fewer = {n: one.counted for n, one in scores.items() if one.counted < len(one.classes)}
    log(
        run,
        {f"miou/{name}": one.miou for name, one in scores.items()}
        | {f"miou_classes/{name}": count for name, count in fewer.items()},
    )
    shown = ", ".join(
        f"{name} mIoU {100 * one.miou:.2f} (best {100 * position.best[name][1].miou:.2f}"
        + (f"; {coverage})" if (coverage := one.coverage(named=False)) else ")")
        for name, one in scores.items()
    )
    LOG.info(f"step {position.step}: {shown}")
    return scores


def score(run: Run) -> dict[str, Scores]:
    """Scores of all networks; one that is better than before is written."""
    # Whole images come in other sizes than crops: what is compiled would be compiled again, and
    # the fastest algorithms be looked for anew.
    networks, best = run.learner.method.networks, run.position.best
    with torch.compiler.set_stance("force_eager"), any_sizes():
        scores = {name: run.validate(network) for name, network in networks.items()}
    for name, one in scores.items():
        if name not in best or one.miou > best[name][1].miou:
            best[name] = (run.position.step, one)
            by_first(partial(_write_best, run, name, one))
    return scores


def _write_best(run: Run, name: str, scores: Scores) -> None:
    state = {"step": run.position.step, "scores": {name: scores.to_json()}}
    tensors = run.learner.method.networks[name].state_dict()
    run.best.write(name, tensors, dict(run.card) | state)
    run.best.prune(run.store.kept())


def save(run: Run) -> None:
    """Write a checkpoint of the current step; all processes call this."""
    random = random_states(run.learner.precision.device)
    # All end if the disk is full: the others would wait for the process that writes.
    by_first(partial(_write_checkpoint, run, random))
    run.saved = run.position.step


def _write_checkpoint(run: Run, random: dict[str, Tensor]) -> None:
    run.position.logged = {
        key: value for logger in run.loggers for key, value in logger.saved().items()
    }
    tensors, state = saved_state(run.learner, run.position, random)
    run.store.save(run.position.step, tensors, dict(run.card) | state)
    run.best.prune(run.store.kept())


@contextmanager
def saved_on_error(run: Run) -> Iterator[None]:
    """Save the run before an error of its data ends it, and say how to go on."""
    try:
        yield
    except (DataError, TrainingError) as error:
        done = run.position.step
        # One process cannot save alone.
        if not done or not (error.everywhere or world().size == 1):
            raise
        if done > run.saved:
            save(run)
        saved = type(error)(
            f"{str(error).rstrip('.')}. The run is saved at step {done}; once that is mended, go "
            f"on with --resume {shlex.quote(str(run.folder.path))}"
        )
        saved.everywhere = error.everywhere
        raise saved from error


def outcome_of(run: Run, scores: dict[str, Scores], code: int, times: list[float]) -> Outcome:
    """How a run ended."""
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


def all_batches(micro_batches: Sequence[Mapping[str, Batch]]) -> list[Batch]:
    """The batches of a step, of all its streams and micro-batches."""
    return [batch for batches in micro_batches for batch in batches.values()]


def _check_alike(micro_batches: Sequence[Mapping[str, Batch]]) -> None:
    """Refuse images whose sizes differ between processes, which mix them with each other."""
    batches = all_batches(micro_batches)
    found = texts(" and ".join("x".join(map(str, one.images.shape[-2:])) for one in batches))
    if len(set(found)) > 1:
        error = DataError(
            f"images differ in size between processes ({'; '.join(found)}): set data.crop or "
            f"data.resize. Images of the first: {texts(', '.join(batches[0].ids))[0]}"
        )
        error.everywhere = True
        raise error


def _note(record: Mapping[str, float]) -> str:
    total = sum(value for name, value in record.items() if name.startswith("loss/"))
    confident = f" confident {record['confident']:.0%}" if "confident" in record else ""
    return f"loss {total:.3f}{confident}"
