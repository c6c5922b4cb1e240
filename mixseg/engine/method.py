"""The interface of a method: its networks, its streams, and the loss terms of a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from mixseg.config import Settings
from mixseg.data.streams import Batch
from mixseg.distributed import gathered
from mixseg.engine.teacher import FixedTeacher
from mixseg.models import ModelOutput, SegmentationModel
from mixseg.randomness import generator


class StepRandom(NamedTuple):
    """Fresh generators of one step; what they give depends on the seed and the step alone.

    Attributes:
        host: On the CPU, for decisions that the host takes.
        device: On the device of the images, for random tensors.
    """

    host: torch.Generator
    device: torch.Generator

    @classmethod
    def of(cls, seed: int, step: int, micro_batch: int, device: torch.device) -> StepRandom:
        """The generators of one micro-batch; a step that accumulates has several."""
        return cls(
            generator(seed, "host", step, micro_batch),
            generator(seed, "device", step, micro_batch, device=device),
        )


class MethodInputs(NamedTuple):
    """Inputs of a method besides the student and the settings; those that it needs are set.

    Attributes:
        target_distribution: Class distribution that pseudo-labels are aligned to, float32, shape
            (C,); None aligns nothing.
        class_frequencies: Share of each class among the labelled pixels, float32, shape (C,); None
            where no loss weighs classes by it.
        teacher: A trained network; None where nothing is distilled.
    """

    target_distribution: Tensor | None = None
    class_frequencies: Tensor | None = None
    teacher: FixedTeacher | None = None

    def to(self, device: torch.device) -> MethodInputs:
        """The same on a device."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        teacher = None if self.teacher is None else self.teacher.to(device)
        return MethodInputs(moved(self.target_distribution), moved(self.class_frequencies), teacher)


class StreamOutput(NamedTuple):
    """The student's output on the batch of a stream, for regularizers.

    Attributes:
        logits: float with gradient, shape (B, C, H, W).
        counted: bool, shape (B, H, W): labelled pixels, or those that show an image.
        labels: int64, shape (B, H, W), 255 = ignore, or float distributions (B, C, H, W) that are
            zero where a pixel is ignored; None where there is no ground truth.
    """

    logits: Tensor
    counted: Tensor
    labels: Tensor | None = None


class StepResult(NamedTuple):
    """The loss terms of a step, or some of them, with what is logged.

    Attributes:
        losses: Name -> scalar with gradient; the trainer minimises their sum.
        logs: Name -> scalar without gradient, for the log.
        pseudo_labels: Share of each class in the pseudo-labels, shape (C,), for the log; None
            where there are none.
        outputs: Name of the stream -> the student's output on its batch.
    """

    losses: dict[str, Tensor]
    logs: dict[str, Tensor]
    pseudo_labels: Tensor | None = None
    outputs: Mapping[str, StreamOutput] = MappingProxyType({})


def merged(terms: Iterable[StepResult]) -> StepResult:
    """The loss terms of a step as one result; at most one of them has pseudo-labels."""
    losses: dict[str, Tensor] = {}
    logs: dict[str, Tensor] = {}
    outputs: dict[str, StreamOutput] = {}
    pseudo_labels = None
    for term in terms:
        losses |= term.losses
        logs |= term.logs
        outputs |= term.outputs
        pseudo_labels = term.pseudo_labels if pseudo_labels is None else pseudo_labels
    return StepResult(losses, logs, pseudo_labels, outputs)


def mean_result(results: Sequence[StepResult]) -> StepResult:
    """The mean over the micro-batches of a step, without their outputs."""
    if len(results) == 1:
        return results[0]

    def mean(values: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(values)).mean(dim=0)

    first = results[0]
    losses = {name: mean(one.losses[name] for one in results) for name in first.losses}
    logs = {name: mean(one.logs[name] for one in results) for name in first.logs}
    shares = [one.pseudo_labels for one in results if one.pseudo_labels is not None]
    return StepResult(losses, logs, mean(shares) if shares else None)


StudentForward = Callable[[Tensor], ModelOutput]
"""Float RGB images in [0, 1], (B, 3, H, W) -> logits and features; see :mod:`.student`."""


def whole_batch(batch: Batch) -> Batch:
    """The batches of all processes as one; the ids stay those of this process."""
    images, labels, valid = map(gathered, batch[:3])
    return Batch(images, labels, valid, batch.ids)


class Method(ABC):
    """A way to train a student.

    Attributes:
        streams: Names of the batch streams that a step takes; see :meth:`streams_of`.
        mixes_unlabeled: Whether unlabelled images get pseudo-labels and are mixed.
        student: The network that the optimizer updates.
        student_forward: Forward pass of the student with gradients that all processes share; see
            :func:`mixseg.engine.student.data_parallel`.
        networks: Name -> network, all that are evaluated and saved; the student among them.
        state: Name -> further tensor that a resumed run needs; written in place.
    """

    streams: tuple[str, ...]
    mixes_unlabeled: ClassVar[bool] = False
    student: SegmentationModel
    student_forward: StudentForward
    networks: dict[str, SegmentationModel]
    state: Mapping[str, Tensor] = MappingProxyType({})

    @abstractmethod
    def __init__(
        self,
        student: SegmentationModel,
        settings: Settings,
        inputs: MethodInputs,
    ) -> None:
        """Build the method around a student.

        Args:
            student: On its device already.
            settings: Of the run.
            inputs: On the device of the student.
        """

    @classmethod
    def streams_of(cls, settings: Settings) -> tuple[str, ...]:
        """The streams that the method takes with these settings, known before it is built."""
        return cls.streams

    @abstractmethod
    def loss_terms(
        self, batches: Mapping[str, Batch], step: int, random: StepRandom
    ) -> Iterator[StepResult]:
        """The loss terms of a step, one after the other; ``step`` counts from 0.

        The trainer may run the backward pass of one term before it takes the next, so that only
        one graph is in memory: no term needs the graph of another. The ``outputs`` of all terms
        together hold ``labeled`` at least: regularizers need it.
        """

    @final
    def step(self, batches: Mapping[str, Batch], step: int, random: StepRandom) -> StepResult:
        """All loss terms of a step in one result, with all their graphs."""
        return merged(self.loss_terms(batches, step, random))

    @abstractmethod
    def after_update(self, step: int) -> None:
        """Called once the optimizer has moved the student in step ``step``."""
