"""The interface of a method: its networks, the streams it takes, and its step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from mixseg.data.streams import Batch
from mixseg.distributed import gathered
from mixseg.models import SegmentationModel
from mixseg.randomness import StepRandom

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, C, H, W), targets: labels (B, H, W) or distributions (B, C, H, W)) -> scalar."""


class StreamOutput(NamedTuple):
    """The student's output for a batch, which regularizers read.

    Attributes:
        logits: float with gradient, shape (B, C, H, W).
        counted: bool, shape (B, H, W): labeled pixels, or those that show an image.
        labels: int64, shape (B, H, W), 255 = ignore, or float distributions (B, C, H, W) that are
            zero where a pixel is ignored; None where there is no ground truth.
    """

    logits: Tensor
    counted: Tensor
    labels: Tensor | None = None


class Backward(Protocol):
    """Runs a backward pass in the middle of a step."""

    def __call__(
        self,
        losses: Mapping[str, Tensor],
        outputs: Mapping[str, StreamOutput] = MappingProxyType({}),
    ) -> None:
        """Add the gradients of the sum of the losses; their graph is freed here.

        Where a regularizer needs all outputs at once, this happens when the step has ended.

        Args:
            losses: Name in the logs -> scalar with gradient. No name comes twice in a step.
            outputs: Name of a stream or view -> the student's output on it, for regularizers. Some
                call of the step passes ``labeled``.
        """


def whole_batch(batch: Batch) -> Batch:
    """The batches of all processes as one, with the ids of this process's; collective."""
    return batch.mapped(gathered)


class Method(ABC):
    """A way to train a student.

    Attributes:
        streams: Names of the streams whose batches a step takes.
        command: Command that trains with it.
        baseline: Whether it takes the flags of the methods that it is compared with.
        source_domain: Whether labeled images come from another domain: needed, allowed or refused.
        student: The network that the optimizer updates.
        networks: Name -> network, all that are evaluated and saved; the student among them.
        state: Name -> further tensor that a resumed run needs; written in place.
    """

    streams: tuple[str, ...] = ("labeled", "unlabeled")
    command: ClassVar[str] = "ssl"
    baseline: ClassVar[bool] = False
    source_domain: ClassVar[Literal["needed", "allowed", "refused"]] = "refused"
    student: SegmentationModel
    networks: Mapping[str, SegmentationModel]
    state: Mapping[str, Tensor] = MappingProxyType({})

    @abstractmethod
    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> Mapping[str, Tensor]:
        """Compute the losses of a step and hand each to ``backward``.

        Args:
            batch: Name of a stream -> its batch, on the device of the student.
            rng: All randomness of the step.
            backward: See :class:`Backward`.

        Returns:
            Name -> further values for the logs, without gradient: scalars, or one for each class,
            shape (C,).
        """

    @abstractmethod
    def after_update(self, step: int) -> None:
        """Called after the optimizer has updated the student in a step, counted from 0."""
