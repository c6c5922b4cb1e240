"""The interface of a regularizer, which adds losses to those of any method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mixseg.methods.method import StreamOutput


class Regularizer(ABC):
    """A further loss term, with networks of its own that are trained along.

    It sees the student's outputs in a step, and nothing else of the method.

    Attributes:
        networks: Name -> network of its own, for reports.
        temperature: What the losses of the method divide logits by.
        map_temperature: What its discriminator divides logits by; None if it has none.
    """

    temperature: float = 1.0
    map_temperature: float | None = None

    networks: Mapping[str, nn.Module]

    @abstractmethod
    def __call__(
        self, outputs: Mapping[str, StreamOutput], step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Update its own networks, then give losses for the student, and further values for the
        logs.

        Its own networks must not send gradients into the student, nor the losses into its own
        networks.

        Args:
            outputs: Name of a stream or view -> the student's output on it, with its graph.
            step: Number of the step, from 0.
        """

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a resumed run needs: JSON values, and named tensors."""

    @abstractmethod
    def restore(self, values: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state`; a CheckpointError if it does not fit."""
