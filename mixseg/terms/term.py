"""The interface of a term."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from torch import Tensor

from mixseg.models import SegmentationModel
from mixseg.randomness import StepRandom
from mixseg.targets.view import View

UnsupervisedLoss = Callable[[Tensor, View], Tensor]
"""(logits (B, C, H, W) of the student, targets and weights) -> float32 scalar."""


class StepData(NamedTuple):
    """What a step knows when its terms are computed; all tensors are this process's shard.

    Attributes:
        student: The network that is trained.
        images: float RGB in [0, 1], shape (B, 3, H, W): labeled images as the student saw them.
        labels: int64, shape (B, H, W), 255 = ignore; or float distributions (B, C, H, W).
        random: All randomness.
        unlabeled: Unlabeled images, neither mixed nor augmented, with their pseudo-labels; None in
            a method without.
        loss: The consistency loss of the method; None likewise.
    """

    student: SegmentationModel
    images: Tensor
    labels: Tensor
    random: StepRandom
    unlabeled: View | None = None
    loss: UnsupervisedLoss | None = None


class Term(ABC):
    """A further loss, with forward passes of its own.

    Attributes:
        needs_unlabeled: Whether it reads unlabeled images.
        weight: Factor of the loss; at 0 it is not computed, and nothing is drawn for it.
        state: Name -> tensor that a resumed run gets back; written in place.
    """

    needs_unlabeled: ClassVar[bool] = True
    weight: float
    state: Mapping[str, Tensor] = MappingProxyType({})

    @abstractmethod
    def __call__(self, step: StepData) -> Tensor:
        """The loss, a float32 scalar with gradient; the method multiplies it by the weight.

        Collective: every process calls it with its shard, and gets the loss of the whole batch.
        """


def states_of(terms: Mapping[str, Term]) -> dict[str, Tensor]:
    """What terms need of a checkpoint, by names that tell them apart."""
    return {
        f"{name}.{key}": tensor
        for name, term in terms.items()
        for key, tensor in term.state.items()
    }
