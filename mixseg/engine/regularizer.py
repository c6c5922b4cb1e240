"""The interface of a regularizer, which adds losses to those of any method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mixseg.engine.method import StepResult


class Regularizer(ABC):
    """A further loss term, with networks of its own that are trained along.

    It sees what a method's step gives, and nothing else of the method.

    Attributes:
        networks: Name -> network of its own, for reports.
    """

    networks: Mapping[str, nn.Module]

    @abstractmethod
    def __call__(self, result: StepResult, step: int) -> StepResult:
        """Update its own networks, then add losses and logs to those of the method.

        Its own networks are updated before the student is, and must not send gradients into it; the
        losses that it adds must not send gradients into its own networks.

        Args:
            result: Of the method's step; the graph of its outputs is still there.
            step: Number of the step, from 0.
        """

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a resumed run needs: JSON values, and named tensors."""

    @abstractmethod
    def restore(self, values: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state`.

        Raises:
            CheckpointError: It does not fit.
        """
