"""The state of a run: its parts, and how it is fed, logged, validated, saved and restored."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from mixseg.config.sections import Settings
from mixseg.data.record import check_digests
from mixseg.data.streams import Batch, Skipped
from mixseg.distributed import by_first, gathered, texts, together, world
from mixseg.errors import CheckpointError, DataError, TrainingError
from mixseg.evaluation.scores import Scores
from mixseg.files import read_text, write_atomically
from mixseg.models import SegmentationModel, load_checked
from mixseg.training.checkpoint import AVERAGE, TEACHER, BestNetworks, Checkpoint, CheckpointStore
from mixseg.training.loggers import Logger
from mixseg.training.optimizers import optimizer_state, restore_optimizer
from mixseg.training.precision import any_sizes
from mixseg.training.run_directory import RunDirectory
from mixseg.training.schedules import Schedule
from mixseg.training.stages import Stage

if TYPE_CHECKING:
    from mixseg.training.loop import Learner

LOG = logging.getLogger("mixseg")

MOST_VOID = 10
"""Label files without a labeled pixel that a run names; further ones are not mentioned."""

Stream = Callable[[int, int], Iterator[Batch]]
"""(number of the first batch, number after the last) -> batches on the CPU."""


@final
@dataclass
class Position:
    """How far a run is: steps done, network -> (step, scores) of its best validation, step of the
    last validation, and what loggers have saved, among other values.
    """

    step: int = 0
    best: dict[str, tuple[int, Scores]] = field(default_factory=dict)
    validated: int = 0
    logged: dict[str, Any] = field(default_factory=dict)


@final
@dataclass
class Run:
    """The parts of a run.

    Attributes:
        learner: Method, optimizer and regularizers.
        streams: Name -> batches, for every stream of the method.
        stages: In order.
        schedule: Factor of the learning rate; ``momentum`` of each step, or None to leave it.
        evaluate: Scores of a network on the validation images.
        folder: Where files go.
        settings: Lengths and intervals; all of them are kept as a record.
        card: Metadata of a checkpoint: model, classes, preprocessing.
        loggers: The process that writes has them, the others have none.
        skipped: Takes in samples that could not be read; None where they end the run.
        position: How far the run is; ``saved`` is the step of the last checkpoint.
        void: Label files without a labeled pixel since the last logged step; ``named`` those that a
            message has named.
    """

    learner: Learner
    streams: Mapping[str, Stream]
    stages: Sequence[Stage]
    schedule: Schedule
    momentum: Schedule | None
    evaluate: Callable[[SegmentationModel], Scores]
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

    def set_rate(self, step: int) -> None:
        """Give the optimizer the learning rate of a step, and its momentum where that changes."""
        momentum = None if self.momentum is None else self.momentum(step)
        self.learner.set_rate(self.schedule(step), momentum)

    def fetch(
        self, batches: Mapping[str, Iterator[Batch]], accumulate: int
    ) -> list[dict[str, Batch]]:
        """The micro-batches of a step; the run is saved before a bad file ends it.

        Raises:
            InterruptionError: A signal has asked the run to stop; it does so here, after a step, or
                in a validation.
        """

        def take() -> list[dict[str, Batch]]:
            return [{name: next(one) for name, one in batches.items()} for _ in range(accumulate)]

        with self.saved_on_error():
            micro_batches = together(take)
            if self.skipped is not None:
                self.skipped.note(all_batches(micro_batches))
            if self.stages[0].crop is None:
                _check_alike(micro_batches)
        self.void |= {label for batch in all_batches(micro_batches) for label in batch.void}
        return micro_batches

    def log(self, values: Mapping[str, float | None]) -> None:
        """Write values after the current step; all processes call this."""

        def write() -> None:
            for logger in self.loggers:
                logger.log(self.position.step, values)

        by_first(write)

    def name_void(self) -> None:
        """Say once which label files hold nothing but ignored pixels, the first of them by name."""
        known = self.named
        found = {label for one in texts(json.dumps(sorted(self.void))) for label in json.loads(one)}
        self.void.clear()
        for label in sorted(found - known):
            known.add(label)
            if len(known) <= MOST_VOID:
                rest = "; more are not named here" if len(known) == MOST_VOID else ""
                LOG.info(
                    f"note: {label} holds nothing but ignored pixels and teaches nothing; "
                    f"mixseg check-data finds all such labels{rest}"
                )

    def is_due(self, done: int) -> bool:
        """Whether a validation follows a number of steps."""
        every = self.settings.validation.every
        return done == self.settings.training.iterations or bool(every and done % every == 0)

    def validate(self) -> dict[str, Scores]:
        """Scores after the current step, logged; the run is saved before a bad file ends it."""
        with self.saved_on_error():
            scores = self.score()
        position = self.position
        position.validated = position.step
        # How many classes the mean is over is written where it is not all of them.
        fewer = {n: one.counted for n, one in scores.items() if one.counted < len(one.classes)}
        self.log(
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

    def score(self) -> dict[str, Scores]:
        """Scores of all networks; one that is better than before is written."""
        # Whole images come in other sizes than crops: what is compiled would be compiled again, and
        # the fastest algorithms be looked for anew.
        networks, best = self.learner.method.networks, self.position.best
        with torch.compiler.set_stance("force_eager"), any_sizes():
            scores = {name: self.evaluate(network) for name, network in networks.items()}
        for name, one in scores.items():
            if name not in best or one.miou > best[name][1].miou:
                best[name] = (self.position.step, one)
                by_first(partial(self._write_best, name, one))
        return scores

    def _write_best(self, name: str, scores: Scores) -> None:
        state = {"step": self.position.step, "scores": {name: scores.to_json()}}
        tensors = self.learner.method.networks[name].state_dict()
        self.best.write(name, tensors, dict(self.card) | state)
        self.best.prune(self.store.kept())

    def save(self) -> None:
        """Write a checkpoint of the current step; all processes call this."""
        random = random_states(self.learner.precision.device)
        # All end if the disk is full: the others would wait for the process that writes.
        by_first(partial(self._write_checkpoint, random))
        self.saved = self.position.step

    def _write_checkpoint(self, random: dict[str, Tensor]) -> None:
        self.position.logged = {
            key: value for logger in self.loggers for key, value in logger.saved().items()
        }
        tensors, state = saved_state(self.learner, self.position, random)
        self.store.save(self.position.step, tensors, dict(self.card) | state)
        self.best.prune(self.store.kept())

    @contextmanager
    def saved_on_error(self) -> Iterator[None]:
        """Save the run before an error of its data ends it, and say how to go on."""
        try:
            yield
        except (DataError, TrainingError) as error:
            done = self.position.step
            # One process cannot save alone.
            if not done or not (error.everywhere or world().size == 1):
                raise
            if done > self.saved:
                self.save()
            saved = type(error)(
                f"{str(error).rstrip('.')}. The run is saved at step {done}; once that is mended, "
                f"go on with --resume {shlex.quote(str(self.folder.path))}"
            )
            saved.everywhere = error.everywhere
            raise saved from error


def all_batches(micro_batches: Sequence[Mapping[str, Batch]]) -> list[Batch]:
    """The batches of a step, of all its streams and micro-batches."""
    return [batch for batches in micro_batches for batch in batches.values()]


def _check_alike(micro_batches: Sequence[Mapping[str, Batch]]) -> None:
    # Processes mix their images with each other.
    batches = all_batches(micro_batches)
    found = texts(" and ".join("x".join(map(str, one.images.shape[-2:])) for one in batches))
    if len(set(found)) > 1:
        error = DataError(
            f"images differ in size between processes ({'; '.join(found)}): set data.crop or "
            f"data.resize. Images of the first: {texts(', '.join(batches[0].ids))[0]}"
        )
        error.everywhere = True
        raise error


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States of torch's own generators, one row for each process; all call this."""
    states = {"cpu": gathered(torch.get_rng_state()[None])}
    if device.type == "cuda":
        states["cuda"] = gathered(torch.cuda.get_rng_state(device)[None])
    return states


def saved_state(
    learner: Learner, position: Position, random: dict[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors and JSON of a checkpoint; the inverse of :func:`restore`."""
    method = learner.method
    values, tensors = optimizer_state(learner.optimizer)
    saved: dict[str, dict[str, Tensor]] = {
        name: network.state_dict() for name, network in method.networks.items()
    }
    saved |= {"optimizer": tensors, "random": random}
    if method.state:
        saved["method"] = dict(method.state)
    state: dict[str, Any] = {
        "step": position.step,
        "best": {name: (step, one.to_json()) for name, (step, one) in position.best.items()},
        "optimizer": values,
        "scaler": learner.precision.scaler.state_dict(),
        "validated": position.validated,
        **position.logged,
        "regularizers": [],
    }
    for number, regularizer in enumerate(learner.regularizers):
        values, tensors = regularizer.state()
        state["regularizers"].append(values)
        saved[f"regularizer-{number}"] = tensors
    return saved, state


def restore(checkpoint: Checkpoint, learner: Learner) -> Position:
    """Give a learner what a checkpoint holds, and tell how far the run was.

    Raises:
        CheckpointError: It is that of another network, method or regularizer, or what it holds is
            no state of a run.
    """
    try:
        position = _position(checkpoint)
        _restore(checkpoint, learner)
        if AVERAGE in learner.method.networks and TEACHER in position.best:
            position.best[AVERAGE] = position.best.pop(TEACHER)
        return position
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        # Its hashes are right, so that nothing was damaged: somebody else has written it.
        raise CheckpointError(
            f"{checkpoint.path}: is not a checkpoint that this version can go on from: {error!r}"
        ) from error


def _restore(checkpoint: Checkpoint, learner: Learner) -> None:
    state, tensors, method = checkpoint.state, checkpoint.tensors, learner.method
    for name, network in method.networks.items():
        saved = TEACHER if name == AVERAGE and name not in tensors else name
        if saved not in tensors:
            raise CheckpointError(f"{checkpoint.path} holds no {name!r}; other method?")
        try:
            load_checked(network, tensors[saved], checkpoint.path / f"{saved}.safetensors")
        except RuntimeError as error:
            raise CheckpointError(
                f"{checkpoint.path}: {name} does not fit the model of these settings"
            ) from error
    restore_optimizer(learner.optimizer, state["optimizer"], tensors["optimizer"])
    if state["scaler"]:  # empty unless the run was in fp16
        learner.precision.scaler.load_state_dict(state["scaler"])
    _restore_random(tensors["random"], learner.precision.device)
    kept = tensors.get("method", {})
    for name, tensor in method.state.items():
        if name not in kept or kept[name].shape != tensor.shape:
            raise CheckpointError(
                f"{checkpoint.path} holds no {name!r}: it was made with another teacher, other "
                "terms, or other targets.alignment or targets.weighting"
            )
        tensor.copy_(kept[name])
    for number, regularizer in enumerate(learner.regularizers):
        if f"regularizer-{number}" not in tensors:
            raise CheckpointError(f"{checkpoint.path} was made without the regularizer")
        own = tensors[f"regularizer-{number}"]
        regularizer.restore(state["regularizers"][number], own)


def _position(checkpoint: Checkpoint) -> Position:
    state = checkpoint.state
    numbers = [state["step"], state.get("validated", state["step"]), state["metrics_offset"]]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError(f"step, validated and metrics_offset are {numbers}")
    check_digests(state.get("data", {}))
    step, validated, _ = numbers
    return Position(step, _best_scores(checkpoint), validated, state)


def _restore_random(states: Mapping[str, Tensor], device: torch.device) -> None:
    # A process that was not there before keeps what its seed gives.
    rank = world().rank
    if rank < len(states.get("cpu", ())):
        torch.set_rng_state(states["cpu"][rank].clone())  # a view crashes torch
    if rank < len(states.get("cuda", ())) and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"][rank].clone(), device)


def _best_scores(checkpoint: Checkpoint) -> dict[str, tuple[int, Scores]]:
    names = [str(name) for name in checkpoint.state["best"]]
    if wrong := [name for name in names if not re.fullmatch(r"\w[\w-]*", name)]:
        # They name folders, which are moved and removed.
        raise CheckpointError(f"{checkpoint.path}: {wrong[0]!r} is not the name of a network")
    try:
        return {
            str(name): (int(step), Scores.from_json(scores))
            for name, (step, scores) in checkpoint.state["best"].items()
        }
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its best scores are of an earlier version of mixseg; it can be "
            "evaluated, not resumed"
        ) from error


@final
class SkippedSamples:
    """Images that a run could not read: named and recorded once; too many end the run."""

    def __init__(
        self, path: Path, samples: Mapping[str, int], share: float, *, writes: bool
    ) -> None:
        """Read what an earlier process of the run has found.

        Args:
            path: One JSON object per line; made when there is something to write.
            samples: Name of a stream -> number of its samples.
            share: Of the samples of a stream, in [0, 1], that may be skipped.
            writes: Whether this process is the one that writes.
        """
        self.path, self.samples, self.share, self.writes = path, samples, share, writes
        try:
            earlier = [Skipped(**json.loads(line)) for line in read_text(path).splitlines()]
        except (OSError, ValueError, TypeError, RecursionError):
            earlier = []  # there is none yet, or a damaged record, which is found again
        self.known = {(one.stream, one.id): one for one in earlier}

    def note(self, batches: Iterable[Batch]) -> None:
        """Take in what the batches of a step have skipped; a DataError where it is more than may
        be.
        """
        own = [list(one) for batch in batches for one in batch.skipped]
        found = [Skipped(*one) for text in texts(json.dumps(own)) for one in json.loads(text)]
        fresh = {(one.stream, one.id): one for one in found} | self.known
        if len(fresh) == len(self.known):
            return
        for key, one in fresh.items():
            if key not in self.known:
                LOG.warning(f"skipped ({one.stream}): {one.reason}")
        self.known = fresh
        if self.writes:
            lines = [json.dumps(one._asdict()) + "\n" for _, one in sorted(fresh.items())]
            write_atomically(self.path, "".join(lines))
        for stream, count in self.samples.items():
            bad = [one for one in fresh.values() if one.stream == stream]
            if len(bad) > int(self.share * count):
                error = DataError(
                    f"{len(bad)} of {count} images of the {stream} stream cannot be read, more "
                    f"than data.skip_bad_share {self.share:g} allows; they are listed in "
                    f"{self.path}, and mixseg check-data finds all. The last one: {bad[-1].reason}"
                )
                error.everywhere = True  # the samples were gathered from all processes
                raise error
