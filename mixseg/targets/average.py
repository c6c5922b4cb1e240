"""The moving average of a student."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Annotated, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from mixseg.config.options import ByRun
from mixseg.config.values import Share
from mixseg.registry import FIXED

Network = TypeVar("Network", bound=nn.Module)


@FIXED.register("average", section="teacher")
class Average(Generic[Network]):
    """An averaged network that follows the student (Tranheden & Olsson, 2.5.5).

    theta'_k = a_k theta'_{k-1} + (1 - a_k) theta_k with a_k = min(1 - 1 / (k + 1), a) (2.16), so
    that the first step copies the student. Batch-norm statistics are averaged as well, integer
    buffers copied.

    Args:
        student: The network to copy and follow.
        decay: Upper limit of the averaging factor (alpha).
        buffers: ``average``: batch-norm statistics follow the student's. ``own``: in train mode the
            average keeps running statistics of its own, as in the published code.
    """

    def __init__(
        self,
        student: Network,
        decay: Share = 0.99,
        buffers: Annotated[Literal["average", "own"], ByRun()] = "average",
    ) -> None:
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.network.train()
        self.decay = decay
        followed: list[tuple[Iterable[Tensor], Iterable[Tensor]]] = [
            (self.network.parameters(), student.parameters())
        ]
        if buffers == "average":
            followed.append((self.network.buffers(), student.buffers()))
            for layer in self.network.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    # Labeling with batch statistics must not move the averaged ones as well.
                    layer.momentum = 0.0
        pairs = [pair for own, other in followed for pair in zip(own, other, strict=True)]
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the student after its update in a step, counted from 0."""
        factor = min(1 - 1 / (step + 1), self.decay)
        own, other = zip(*self._averaged, strict=True)
        torch._foreach_lerp_(own, other, 1 - factor)
        if self._copied:
            own, other = zip(*self._copied, strict=True)
            torch._foreach_copy_(own, other)
