"""The training loop: one loop, read from top to bottom, for every method."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from rich.console import Console
from torch import Tensor

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.distributed import (
    by_first,
    largest,
    of_first,
    texts,
    together,
    wait_for_all,
    world,
)
from mixseg.engine.best_networks import BestNetworks
from mixseg.engine.checkpoint import Checkpoint, CheckpointStore, read_checkpoint
from mixseg.engine.learner import Gradients, Learner
from mixseg.engine.precision import PrecisionName, any_sizes, peak_memory
from mixseg.engine.progress import TrainingProgress
from mixseg.engine.run_directory import RunDirectory
from mixseg.engine.run_log import RunLog
from mixseg.engine.run_state import Position, random_states, restore, saved_state
from mixseg.engine.schedules import Schedule
from mixseg.engine.skipped import SkippedSamples
from mixseg.engine.stages import Stage
from mixseg.errors import ConfigError, DataError, InterruptionError, TrainingError
from mixseg.evaluation.scores import Scores
from mixseg.files import write_atomically
from mixseg.interruption import Interruption
from mixseg.models import SegmentationModel
from mixseg.terminal import say

MOST_VOID = 10
"""Label files without a labelled pixel that a run names; the others go unsaid."""

Stream = Callable[[int, int], Iterator[Batch]]
"""(number of the first batch, number after the last) -> batches on the CPU."""


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
        precision: That it was trained in, whatever ``auto`` has become.
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


@final
class Trainer:
    """Runs a method for a number of steps, validates, logs and saves."""

    def __init__(
        self,
        learner: Learner,
        streams: Mapping[str, Stream],
        stages: Sequence[Stage],
        schedule: Schedule,
        momentum: Schedule | None,
        validate: Callable[[SegmentationModel], Scores],
        run: RunDirectory,
        settings: Settings,
        card: Mapping[str, Any],
        console: Console,
        skipped: SkippedSamples | None,
    ) -> None:
        """Compose a run.

        Args:
            learner: What is trained.
            streams: Name -> batches, for every stream of the method.
            stages: Of the run, for its record.
            schedule: Factor of the learning rate.
            momentum: Momentum of each step; None leaves it as it is.
            validate: Scores of a network.
            run: Where files go.
            settings: The settings of the run.
            card: Metadata of a checkpoint: model, classes, preprocessing.
            console: Where people read.
            skipped: Takes in samples that could not be read; None where they end the run.
        """
        self.learner = learner
        self.method = learner.method
        self.regularizers = learner.regularizers
        self.optimizer = learner.optimizer
        self.precision = learner.precision
        self.streams = streams
        self.stages = stages
        self.schedule = schedule
        self.momentum = momentum
        self.validate = validate
        self.run = run
        self.settings = settings
        self.card = card
        self.console = console
        self.skipped = skipped
        self.classes = tuple(card["classes"]["names"])
        self.device = self.precision.device
        self.store = CheckpointStore(
            run.checkpoints, settings.checkpoints.keep, settings.checkpoints.keep_every
        )
        self.best = BestNetworks(run.checkpoints)
        self.position = Position()
        self.first = 0
        self._saved = 0
        self._void: set[str] = set()

    def resume(self) -> None:
        """Go on from the latest intact checkpoint of the run, if there is one."""
        if self.run.locked:
            self.store.remove_leftovers()
        wait_for_all()
        checkpoint = self._latest()
        if checkpoint is None:
            say(self.console, "no checkpoint yet: starting from step 0", "yellow")
            return
        self.position = restore(checkpoint, self.learner)
        self.first = self._saved = self.position.step
        if self.first > self.settings.training.iterations:
            raise ConfigError(
                f"{self.run.path} is at step {self.first}; training.iterations "
                f"{self.settings.training.iterations} would go back"
            )
        self._set_rate(self.first - 1)  # what it is saved with, should no step follow
        wait_for_all()  # all have read what may be removed now
        steps = {name: step for name, (step, _) in self.position.best.items()}
        lost = of_first(json.dumps(by_first(partial(self.best.restore, steps))))
        for name in json.loads(lost):
            # One that somebody has removed is not to be beaten.
            step, _ = self.position.best.pop(name)
            text = f"{self.run.checkpoints}: the best {name}, of step {step}, is not there any more"
            say(self.console, text, "yellow")
        if self.run.locked:
            self.store.settle(self.position.step)

    def _latest(self) -> Checkpoint | None:
        """The latest intact checkpoint, which the first process chooses: others, on a network
        drive, may see fewer."""
        chosen, problems = by_first(self.store.latest) or (None, [])
        for problem in problems:
            say(self.console, f"passed over: {problem}", "yellow")
        name = of_first("" if chosen is None else chosen.path.name)
        if not name:
            return None
        return together(lambda: chosen or read_checkpoint(self.store.folder / name))

    def fit(self, *, save_first: bool = False) -> Outcome:
        """Train from the current step to the last.

        Args:
            save_first: Write the checkpoint that the run goes on from again, with its present
                settings and data: they differ from those that it holds.

        Raises:
            TrainingError: A loss or gradient is not finite. The student and the teacher have not
                moved in that step.
            DataError: A file is damaged; the run is saved before.
            CheckpointError: A checkpoint could not be written.
        """
        training = self.settings.training
        log = RunLog(
            self.run,
            self.position.metrics_offset,
            self.position.metrics_sha256,
            first=self.first,
            tensorboard=training.tensorboard,
        )
        if log.problem:
            say(self.console, log.problem, "yellow")
        times: list[float] = []
        with Interruption() as interruption:
            try:
                if save_first and self.first:
                    self._save(log)
                scores = self._steps(log, self.first, training.iterations, times)
            except InterruptionError:
                if self.position.step > self._saved:
                    self._save(log)
                return self._outcome({}, largest(interruption.exit_code), times)
            finally:
                log.close()
        outcome = self._outcome(scores, 0, times)
        if self.run.locked:
            write_atomically(self.run.summary, json.dumps(self._summary(outcome), indent=1))
        return outcome

    def _steps(self, log: RunLog, first: int, total: int, times: list[float]) -> dict[str, Scores]:
        scores: dict[str, Scores] = {}
        void: set[str] = set()
        accumulate = self.settings.training.accumulate
        batches = {
            name: stream(first * accumulate, total * accumulate)
            for name, stream in self.streams.items()
        }
        self.method.student.train()
        with TrainingProgress(self.console, total, first) as progress:
            if first and self._due(first) and self.position.validated != first:
                scores = self._validation(log, progress)
            elif first == total:
                return self._validated()
            for step in range(first, total):
                started = time.perf_counter()
                rate = self._set_rate(step)
                micro_batches = self._next_micro_batches(batches, accumulate, log)
                void |= {label for batch in all_batches(micro_batches) for label in batch.void}
                gradients = self.learner.gradients(micro_batches, step)
                names = [name for batch in all_batches(micro_batches) for name in batch.ids]
                self._stop_if_not_finite(gradients, step, names)
                self.learner.move(step)

                done = self.position.step = step + 1
                times.append(time.perf_counter() - started)
                if self.settings.training.compile and step == first:
                    progress.say(f"torch.compile: the first step took {times[-1]:.0f} s")
                if done % self.settings.training.log_every == 0 or done == total:
                    record = self._record(rate, gradients)
                    log.write(done, record, seconds=times[-1])
                    progress.update(done, _note(record))
                    self._say_void(void, progress)
                    void.clear()

                # Before the validation: whatever ends it loses no step, and a run that goes on from
                # here does it again.
                if done == total or done % self.settings.checkpoints.every == 0:
                    self._save(log)
                if self._due(done):
                    scores = self._validation(log, progress)
        self._save(log)  # with the best scores
        return scores

    def _set_rate(self, step: int) -> float:
        """Give the optimizer the learning rate of a step, and its momentum where that changes."""
        rate = self.schedule(step)
        self.learner.set_rate(rate)
        if self.momentum is not None:
            self.learner.set_momentum(self.momentum(step))
        return rate

    def _next_micro_batches(
        self, batches: Mapping[str, Iterator[Batch]], accumulate: int, log: RunLog
    ) -> list[dict[str, Batch]]:
        """The batches of a step; before a bad file ends the run, it is saved.

        Raises:
            InterruptionError: A signal has asked the run to stop; it does so here, after a step,
                or in a validation.
        """

        def take() -> list[dict[str, Batch]]:
            return [
                {name: next(batch) for name, batch in batches.items()} for _ in range(accumulate)
            ]

        try:
            micro_batches = together(take)
            if self.skipped is not None:
                self.skipped.note(all_batches(micro_batches))
            if self.stages[0].crop is None:
                _check_alike(micro_batches)
            return micro_batches
        except (DataError, TrainingError) as error:
            raise self._saved_before(error, log) from error

    def _due(self, done: int) -> bool:
        every = self.settings.validation.every
        return done == self.settings.training.iterations or bool(every and done % every == 0)

    def _say_void(self, labels: set[str], progress: TrainingProgress) -> None:
        """Say once which label files hold nothing but ignored pixels, the first of them by name."""
        found = {label for one in texts(json.dumps(sorted(labels))) for label in json.loads(one)}
        for label in sorted(found - self._void):
            self._void.add(label)
            if len(self._void) <= MOST_VOID:
                rest = "; more are not named here" if len(self._void) == MOST_VOID else ""
                progress.say(
                    f"note: {label} holds nothing but ignored pixels and teaches nothing; "
                    f"mixseg check-data finds all such labels{rest}"
                )

    def _validation(self, log: RunLog, progress: TrainingProgress) -> dict[str, Scores]:
        """Scores after a step, logged; before a bad file ends the run, it is saved."""
        try:
            scores = self._validated()
        except (DataError, TrainingError) as error:
            raise self._saved_before(error, log) from error
        done = self.position.validated = self.position.step
        # How many classes the mean is over is written where it is not all of them.
        fewer = {n: one.counted for n, one in scores.items() if one.counted < len(one.classes)}
        log.write(
            done,
            {f"miou/{name}": one.miou for name, one in scores.items()}
            | {f"miou_classes/{name}": count for name, count in fewer.items()},
        )
        progress.say(f"step {done}: " + self._best_note(scores))
        return scores

    def _saved_before(
        self, error: DataError | TrainingError, log: RunLog
    ) -> DataError | TrainingError:
        """The error, with a word on how to go on."""
        done = self.position.step
        # One process cannot save alone.
        if not done or not (error.everywhere or world().size == 1):
            return error
        if done > self._saved:
            self._save(log)
        saved = type(error)(
            f"{str(error).rstrip('.')}. The run is saved at step {done}; once that is mended, go "
            f"on with --resume {shlex.quote(str(self.run.path))}"
        )
        saved.everywhere = error.everywhere
        return saved

    def _outcome(self, scores: dict[str, Scores], code: int, times: list[float]) -> Outcome:
        return Outcome(
            scores,
            self.position.best,
            code,
            self.position.step,
            _median(times),
            peak_memory(self.device),
            self.precision.name,
            self.settings,
        )

    def _stop_if_not_finite(self, gradients: Gradients, step: int, names: list[str]) -> None:
        # Synchronises with the GPU once per step: a step that must not count has to be known
        # before optimizer and teacher are updated. (The scaler of fp16 synchronises as well.)
        if self.learner.is_finite(gradients):
            return
        result, _, norm = gradients
        values = {name: float(value.detach()) for name, value in result.losses.items()}
        names = texts(", ".join(names))
        stopped = TrainingError(
            f"step {step + 1}: loss or gradient is not finite (losses {values}, gradient norm "
            f"{float(norm)}). Images of the step: {', '.join(names)}. The network was not updated; "
            "the checkpoints so far are intact. Try a lower --lr, --precision fp32 or "
            "optimizer.clip_norm"
        )
        stopped.everywhere = True  # losses and gradients are those of all processes
        raise stopped

    def _record(self, rate: float, gradients: Gradients) -> dict[str, float]:
        result, _, norm = gradients
        losses = {f"loss/{name}": float(value.detach()) for name, value in result.losses.items()}
        logs = {name: float(value) for name, value in result.logs.items()}
        lr = rate * float(self.optimizer.param_groups[0]["peak_lr"])
        record = {"lr": lr, "gradient_norm": float(norm)} | losses | logs
        if self.momentum is not None:
            record["momentum"] = self.momentum(self.position.step - 1)
        if result.pseudo_labels is not None:
            shares = zip(self.classes, result.pseudo_labels.tolist(), strict=True)
            record |= {f"pseudo-labels/{name}": share for name, share in shares}
        return record

    def _validated(self) -> dict[str, Scores]:
        # Whole images come in other sizes than crops: what is compiled would be compiled again,
        # and the fastest algorithms be looked for anew.
        with torch.compiler.set_stance("force_eager"), any_sizes():
            networks = self.method.networks.items()
            scores = {name: self.validate(network) for name, network in networks}
        for name, one in scores.items():
            best = self.position.best
            if name not in best or one.miou > best[name][1].miou:
                best[name] = (self.position.step, one)
                by_first(partial(self._write_best, name, one))
        return scores

    def _write_best(self, name: str, scores: Scores) -> None:
        self.best.write(
            name,
            self.method.networks[name].state_dict(),
            dict(self.card) | {"step": self.position.step, "scores": {name: scores.to_json()}},
        )
        self._prune_best()

    def _prune_best(self) -> None:
        self.best.prune(self.store.candidates()[: self.store.keep])

    def _best_note(self, scores: Mapping[str, Scores]) -> str:
        return ", ".join(
            f"{name} mIoU {100 * one.miou:.2f} (best {100 * self.position.best[name][1].miou:.2f}"
            + (f"; {coverage})" if (coverage := one.coverage(named=False)) else ")")
            for name, one in scores.items()
        )

    def _save(self, log: RunLog) -> None:
        random = random_states(self.device)
        # All end if the disk is full: the others would wait for the process that writes.
        by_first(partial(self._write_state, log, random))
        self._saved = self.position.step

    def _write_state(self, log: RunLog, random: dict[str, Tensor]) -> None:
        self.position.metrics_offset, self.position.metrics_sha256 = log.written()
        tensors, state = saved_state(self.learner, self.position, random)
        self.store.save(self.position.step, tensors, dict(self.card) | state)
        self._prune_best()

    def _summary(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "settings": dataclasses.asdict(self.settings),
            "step": outcome.step,
            "last": {name: one.to_json() for name, one in outcome.scores.items()},
            "best": {
                name: {"step": step} | one.to_json() for name, (step, one) in outcome.best.items()
            },
            "seconds_per_step": outcome.seconds_per_step,
            "peak_memory": outcome.peak_memory,
            "precision": self.precision.name,
            "effective_batch": {name: self._effective_batch(name) for name in self.streams},
        }

    def _effective_batch(self, name: str) -> int | list[int]:
        """Images of a stream in an optimizer step; one number for each stage if there are any."""
        accumulate = self.settings.training.accumulate
        sizes = [stage.batches[name] * accumulate for stage in self.stages]
        return sizes if self.settings.stages else sizes[0]


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


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
