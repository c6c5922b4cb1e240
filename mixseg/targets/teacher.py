"""The moving average of a student, and the mean teacher that labels with it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Generic, Literal, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.config.options import ByRun
from mixseg.config.values import Share
from mixseg.errors import ConfigError
from mixseg.registry import TEACHERS
from mixseg.targets.alignment import DistributionAlignment
from mixseg.targets.pseudo_labels import PseudoLabels, most_probable, pseudo_labels

Network = TypeVar("Network", bound=nn.Module)


@TEACHERS.register("average")
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


@TEACHERS.register("mean")
@final
class MeanTeacher(Average[Network]):
    """An average that labels images for the student (Tranheden & Olsson, 2.5.5).

    Args:
        student: The network to copy and follow.
        decay: Upper limit of the averaging factor (alpha).
        mode: Batch norm of the teacher while it labels: train normalizes with the statistics of its
            batch, as the published code does, eval with the averaged ones.
        buffers: Batch-norm statistics: averaged like the weights, or the teacher's own running ones
            as in the published code.
        temperature: Logits are divided by it before the softmax.
        align: Brings pseudo-labels closer to a class distribution.

    Attributes:
        state: Name -> tensor that a resumed run needs: the distributions of the alignment.

    Raises:
        ConfigError: ``buffers`` own in mode eval, in which nothing would update them.
    """

    state: Mapping[str, Tensor] = MappingProxyType({})

    def __init__(
        self,
        student: Network,
        decay: Share = 0.99,
        mode: Literal["train", "eval"] = "train",
        buffers: Literal["average", "own"] = "average",
        temperature: Annotated[float, ByRun()] = 1.0,
        align: DistributionAlignment | None = None,
    ) -> None:
        if mode == "eval" and buffers == "own":
            raise ConfigError(
                "teacher.buffers own needs teacher.mode train: in eval mode nothing would update "
                "them. With teacher.mode eval set teacher.buffers to average"
            )
        super().__init__(student, decay, buffers)
        self.network.train(mode == "train")
        self.temperature = temperature
        self.align = align
        if align is not None:
            self.state = {"wanted": align.distribution, "aligned": align.running}

    @torch.no_grad()
    def label(self, images: Tensor, valid: Tensor, *, probabilities: bool = False) -> PseudoLabels:
        """The pseudo-labels of images; collective with an alignment.

        Args:
            images: float RGB in [0, 1], shape (B, 3, H, W).
            valid: bool, shape (B, H, W): false where padding shows.
            probabilities: Whether the whole distributions are returned too.
        """
        logits: Tensor = self.network(images)
        if self.temperature != 1:
            logits = logits.float() / self.temperature
        if not probabilities and self.align is None:
            return most_probable(logits, valid)
        whole = functional.softmax(logits.float(), dim=1)
        if self.align is not None:
            whole = self.align(whole, valid)
        found = pseudo_labels(whole, valid)
        return found if probabilities else found._replace(probabilities=None)
