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

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.distributed import (
    by_first,
    gathered,
    largest,
    of_first,
    texts,
    together,
    wait_for_all,
    world,
)
from mixseg.engine.checkpoint import (
    Checkpoint,
    CheckpointStore,
    read_checkpoint,
    write_checkpoint,
)
from mixseg.engine.interruption import Interruption
from mixseg.engine.learner import Gradients, Learner
from mixseg.engine.optimizer_state import optimizer_state, restore_optimizer
from mixseg.engine.precision import any_sizes, peak_memory
from mixseg.engine.progress import TrainingProgress
from mixseg.engine.run_directory import MetricsLog, RunDirectory
from mixseg.engine.schedules import Schedule
from mixseg.engine.skipped import SkippedSamples
from mixseg.engine.stages import Stage
from mixseg.errors import CheckpointError, ConfigError, DataError, TrainingError
from mixseg.evaluation.confusion import Scores
from mixseg.files import write_atomically
from mixseg.models import SegmentationModel

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
        settings: Of the run.
    """

    scores: dict[str, Scores]
    best: dict[str, tuple[int, Scores]]
    exit_code: int
    step: int
    seconds_per_step: float
    peak_memory: int
    settings: Settings


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
            card: What a checkpoint says of itself: model, classes, preprocessing.
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
        self.first = 0
        self.best: dict[str, tuple[int, Scores]] = {}
        self.validated = 0
        self._metrics_offset = 0

    def resume(self) -> None:
        """Go on from the latest intact checkpoint of the run, if there is one."""
        if self.run.locked:
            self.store.remove_leftovers()
        wait_for_all()
        checkpoint = self._latest()
        if checkpoint is None:
            self.console.print("no checkpoint yet: starting from step 0", style="yellow")
            return
        if checkpoint.state["step"] > self.settings.training.iterations:
            raise ConfigError(
                f"{self.run.path} is at step {checkpoint.state['step']}; training.iterations "
                f"{self.settings.training.iterations} would go back"
            )
        state, tensors = checkpoint.state, checkpoint.tensors
        for name, network in self.method.networks.items():
            if name not in tensors:
                raise CheckpointError(f"{checkpoint.path} holds no {name!r}; other method?")
            try:
                network.load_state_dict(tensors[name])
            except RuntimeError as error:
                raise CheckpointError(
                    f"{checkpoint.path}: {name} does not fit the model of these settings"
                ) from error
        restore_optimizer(self.optimizer, state["optimizer"], tensors["optimizer"])
        if state["scaler"]:  # empty unless the run was in fp16
            self.precision.scaler.load_state_dict(state["scaler"])
        # A process that was not there before keeps what its seed gives.
        random, rank = tensors["random"], world().rank
        if rank < len(random.get("cpu", ())):
            torch.set_rng_state(random["cpu"][rank].clone())  # a view crashes torch
        if rank < len(random.get("cuda", ())) and self.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"][rank].clone(), self.device)
        saved = tensors.get("method", {})
        for name, tensor in self.method.state.items():
            if name not in saved or saved[name].shape != tensor.shape:
                raise CheckpointError(
                    f"{checkpoint.path} holds no {name!r}: it was made with another "
                    "targets.alignment"
                )
            tensor.copy_(saved[name])
        for number, regularizer in enumerate(self.regularizers):
            if f"regularizer-{number}" not in tensors:
                raise CheckpointError(f"{checkpoint.path} was made without the regularizer")
            own = tensors[f"regularizer-{number}"]
            regularizer.restore(state["regularizers"][number], own)
        try:
            best = state["best"].items()
            self.best = {
                name: (step, Scores.from_json(scores))
                for name, (step, scores) in best
                if (self.run.checkpoints / f"best-{name}").is_dir()  # else the next one is the best
            }
        except (TypeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{checkpoint.path}: its best scores are of an earlier version of mixseg; it can "
                "be evaluated, not resumed"
            ) from error
        self.first = state["step"]
        wait_for_all()  # all have read what may be removed now
        if self.run.locked:
            self.store.settle(self.first)
        self.validated = state.get("validated", self.first)
        self._metrics_offset = state["metrics_offset"]

    def _latest(self) -> Checkpoint | None:
        """The latest intact checkpoint, which the first process chooses: others, on a network
        drive, may see fewer."""
        chosen, problems = by_first(self.store.latest) or (None, [])
        for problem in problems:
            self.console.print(f"passed over: {problem}", style="yellow", markup=False)
        name = of_first("" if chosen is None else chosen.path.name)
        if not name:
            return None
        return together(lambda: chosen or read_checkpoint(self.store.folder / name))

    def fit(self) -> Outcome:
        """Train from the current step to the last.

        Raises:
            TrainingError: A loss or gradient is not finite. The student and the teacher have not
                moved in that step.
            DataError: A file is damaged; the run is saved before.
            CheckpointError: A checkpoint could not be written.
        """
        total = self.settings.training.iterations
        accumulate = self.settings.training.accumulate
        writes = self.run.locked
        self.log = MetricsLog(self.run.metrics, self._metrics_offset) if writes else None
        board = _tensorboard(self) if writes else None
        try:
            return self._steps(total, accumulate, board)
        finally:
            if self.log is not None:
                self.log.close()
            if board is not None:
                board.close()

    def _steps(self, total: int, accumulate: int, board: Any) -> Outcome:
        scores: dict[str, Scores] = {}
        times: list[float] = []
        batches = {
            name: stream(self.first * accumulate, total * accumulate)
            for name, stream in self.streams.items()
        }
        self.method.student.train()
        with Interruption() as interruption, self._progress() as progress:
            if self.first and self._due(self.first) and self.validated != self.first:
                scores = self._validation(self.first, board, progress)
            elif self.first == total:
                scores = self._validated(total)
            for step in range(self.first, total):
                started = time.perf_counter()
                rate = self.schedule(step)
                self.learner.set_rate(rate)
                if self.momentum is not None:
                    self.learner.set_momentum(self.momentum(step))

                parts = self._taken(batches, accumulate, step)
                gradients = self.learner.gradients(parts, step)
                names = [name for part in parts for batch in part.values() for name in batch.ids]
                self._stop_if_not_finite(gradients, step, names)
                self.learner.move(step)

                done = step + 1
                times.append(time.perf_counter() - started)
                if self.settings.training.compile and step == self.first:
                    progress.say(f"torch.compile: the first step took {times[-1]:.0f} s")
                if done % self.settings.training.log_every == 0 or done == total:
                    record = self._record(done, rate, gradients)
                    self._write(record | {"seconds": round(times[-1], 4)})
                    _plot(board, record, done)
                    progress.update(done, self._note(record))

                if self._due(done):
                    scores = self._validation(done, board, progress)
                code = largest(0 if interruption.signal is None else interruption.exit_code)
                if code or done == total or done % self.settings.checkpoints.every == 0:
                    self._save(done)
                if code and done < total:
                    return self._outcome({}, code, done, times)
        outcome = self._outcome(scores, 0, total, times)
        if self.run.locked:
            write_atomically(self.run.summary, json.dumps(self._summary(outcome), indent=1))
        return outcome

    def _write(self, record: Mapping[str, Any]) -> None:
        by_first(partial(self._write_line, record))

    def _write_line(self, record: Mapping[str, Any]) -> None:
        assert self.log is not None  # this is the process that writes
        self.log.write(record)

    def _taken(
        self, batches: Mapping[str, Iterator[Batch]], accumulate: int, step: int
    ) -> list[dict[str, Batch]]:
        """The next batches of each stream; before a bad file ends the run, it is saved."""

        def take() -> list[dict[str, Batch]]:
            return [
                {name: next(batch) for name, batch in batches.items()} for _ in range(accumulate)
            ]

        try:
            parts = together(take)
            if self.skipped is not None:
                self.skipped.note(batch for part in parts for batch in part.values())
            if self.stages[0].crop is None:
                _check_alike(parts)
            return parts
        except DataError as error:
            raise self._saved_before(error, step) from error

    def _due(self, done: int) -> bool:
        every = self.settings.validation.every
        return done == self.settings.training.iterations or bool(every and done % every == 0)

    def _validation(self, done: int, board: Any, progress: TrainingProgress) -> dict[str, Scores]:
        """Scores after a step, logged; before a bad file ends the run, it is saved."""
        try:
            scores = self._validated(done)
        except DataError as error:
            raise self._saved_before(error, done) from error
        self.validated = done
        self._write({"step": done} | _miou(scores))
        _plot(board, _miou(scores), done)
        progress.say(f"step {done}: " + self._best_note(scores))
        return scores

    def _saved_before(self, error: DataError, done: int) -> DataError:
        """The error, with a word on how to go on."""
        if not done:
            return error
        if done > self.first:
            self._save(done)
        saved = DataError(
            f"{error}. The run is saved at step {done}; once that is mended, go on with --resume "
            f"{shlex.quote(str(self.run.path))}"
        )
        saved.everywhere = error.everywhere
        return saved

    def _outcome(
        self, scores: dict[str, Scores], code: int, done: int, times: list[float]
    ) -> Outcome:
        return Outcome(
            scores,
            self.best,
            code,
            done,
            _median(times),
            peak_memory(self.device),
            self.settings,
        )

    def _progress(self) -> TrainingProgress:
        return TrainingProgress(self.console, self.settings.training.iterations, self.first)

    def _stop_if_not_finite(self, gradients: Gradients, step: int, names: list[str]) -> None:
        # The place where the host waits for the device, but for the scaler of fp16: a step that
        # must not count has to be known before the optimizer and the teacher move.
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

    def _record(self, done: int, rate: float, gradients: Gradients) -> dict[str, float | int]:
        result, _, norm = gradients
        losses = {f"loss/{name}": float(value.detach()) for name, value in result.losses.items()}
        logs = {name: float(value) for name, value in result.logs.items()}
        lr = rate * float(self.optimizer.param_groups[0]["peak_lr"])
        record = {"step": done, "lr": lr, "gradient_norm": float(norm)} | losses | logs
        if self.momentum is not None:
            record["momentum"] = self.momentum(done - 1)
        if result.pseudo_labels is not None:
            shares = zip(self.classes, result.pseudo_labels.tolist(), strict=True)
            record |= {f"pseudo-labels/{name}": share for name, share in shares}
        return record

    def _note(self, record: Mapping[str, float | int]) -> str:
        total = sum(value for name, value in record.items() if name.startswith("loss/"))
        confident = f" confident {record['confident']:.0%}" if "confident" in record else ""
        return f"loss {total:.3f}{confident}"

    def _validated(self, done: int) -> dict[str, Scores]:
        # Whole images come in other sizes than crops: what is compiled would be compiled again,
        # and the fastest algorithms be looked for anew.
        with torch.compiler.set_stance("force_eager"), any_sizes():
            networks = self.method.networks.items()
            scores = {name: self.validate(network) for name, network in networks}
        for name, one in scores.items():
            if name not in self.best or one.miou > self.best[name][1].miou:
                self.best[name] = (done, one)
                by_first(partial(self._write_best, name, one, done))
        return scores

    def _write_best(self, name: str, scores: Scores, done: int) -> None:
        write_checkpoint(
            self.run.checkpoints / f"best-{name}",
            {name: self.method.networks[name].state_dict()},
            dict(self.card) | {"step": done, "scores": {name: scores.to_json()}},
        )

    def _best_note(self, scores: Mapping[str, Scores]) -> str:
        return ", ".join(
            f"{name} mIoU {100 * one.miou:.2f} (best {100 * self.best[name][1].miou:.2f})"
            for name, one in scores.items()
        )

    def _save(self, done: int) -> None:
        # One row for each process.
        random = {"cpu": gathered(torch.get_rng_state()[None])}
        if self.device.type == "cuda":
            random["cuda"] = gathered(torch.cuda.get_rng_state(self.device)[None])
        # All end if the disk is full: the others would wait for the process that writes.
        by_first(partial(self._write_state, done, random))

    def _write_state(self, done: int, random: dict[str, torch.Tensor]) -> None:
        assert self.log is not None  # this is the process that writes
        values, tensors = optimizer_state(self.optimizer)
        networks = {name: net.state_dict() for name, net in self.method.networks.items()}
        state = dict(self.card) | {
            "step": done,
            "best": {name: (step, one.to_json()) for name, (step, one) in self.best.items()},
            "optimizer": values,
            "scaler": self.precision.scaler.state_dict(),
            "validated": self.validated,
            "metrics_offset": self.log.offset(),
        }
        extra = {"optimizer": tensors, "random": random}
        if self.method.state:
            extra["method"] = dict(self.method.state)
        state["regularizers"] = []
        for number, regularizer in enumerate(self.regularizers):
            values, tensors = regularizer.state()
            state["regularizers"].append(values)
            extra[f"regularizer-{number}"] = tensors
        self.store.save(done, networks | extra, state)

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


def _check_alike(parts: Sequence[Mapping[str, Batch]]) -> None:
    """Refuse images whose sizes differ between processes, which mix them with each other."""
    batches = [batch for part in parts for batch in part.values()]
    found = texts(" and ".join("x".join(map(str, one.images.shape[-2:])) for one in batches))
    if len(set(found)) > 1:
        error = DataError(
            f"images differ in size between processes ({'; '.join(found)}): set data.crop or "
            f"data.resize. Images of the first: {texts(', '.join(batches[0].ids))[0]}"
        )
        error.everywhere = True
        raise error


def _miou(scores: Mapping[str, Scores]) -> dict[str, float | None]:
    return {f"miou/{name}": one.miou for name, one in scores.items()}


def _plot(board: Any, values: Mapping[str, float | None], done: int) -> None:
    for name, value in values.items():
        if board is not None and value is not None:
            board.add_scalar(name, value, done)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _tensorboard(trainer: Trainer) -> Any:
    if not trainer.settings.training.tensorboard:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(trainer.run.path / "tensorboard"), purge_step=trainer.first)
