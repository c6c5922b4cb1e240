"""Teachers: a moving average of the student (Tranheden & Olsson, 2.5.5), and a trained network."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.errors import ConfigError
from mixseg.models import ModelOutput, SegmentationModel


@final
class MeanTeacher:
    """The averaged network and how it follows the student.

    theta'_k = a_k theta'_{k-1} + (1 - a_k) theta_k with a_k = min(1 - 1 / (k + 1), a) (2.16), so
    that the first step copies the student. Batch-norm statistics are averaged as well, integer
    buffers copied.
    """

    def __init__(
        self,
        student: SegmentationModel,
        decay: float = 0.99,
        mode: Literal["train", "eval"] = "train",
        buffers: Literal["average", "own"] = "average",
        temperature: float = 1.0,
    ) -> None:
        """Copy the student.

        Args:
            student: The network to follow.
            decay: Upper limit of the averaging factor.
            mode: ``train``: for pseudo-labels the teacher normalises with the statistics of its
                batch, as the published code does. ``eval``: with the averaged ones.
            buffers: ``average``: batch-norm statistics follow the student's. ``own``: in train
                mode the teacher keeps running statistics of its own, as in the published code.
            temperature: What logits are divided by before the softmax.
        """
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.decay = decay
        self.network.train(mode == "train")
        self.temperature = temperature
        followed: list[tuple[Iterable[Tensor], Iterable[Tensor]]] = [
            (self.network.parameters(), student.parameters())
        ]
        if buffers == "average":
            followed.append((self.network.buffers(), student.buffers()))
            for layer in self.network.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    # Labelling with batch statistics must not move the averaged ones as well.
                    layer.momentum = 0.0
        pairs = [pair for own, other in followed for pair in zip(own, other, strict=True)]
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """The teacher's logits over its temperature, shape (B, C, H, W); no gradient."""
        logits: Tensor = self.network(images)
        return logits if self.temperature == 1 else logits.float() / self.temperature

    def probabilities(self, images: Tensor) -> Tensor:
        """Their softmax, float32, shape (B, C, H, W); no gradient."""
        return functional.softmax(self.logits(images).float(), dim=1)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the student after its update in step ``step``, counted from 0."""
        factor = min(1 - 1 / (step + 1), self.decay)
        own, other = zip(*self._averaged, strict=True)
        torch._foreach_lerp_(own, other, 1 - factor)
        if self._copied:
            own, other = zip(*self._copied, strict=True)
            torch._foreach_copy_(own, other)


@final
class FixedTeacher(nn.Module):
    """A trained network, never updated, whose logits are those of a student's classes (Karlı)."""

    columns: Tensor

    def __init__(
        self,
        network: SegmentationModel,
        classes: Sequence[str],
        wanted: Sequence[str],
        temperature: float = 1.0,
    ) -> None:
        """Find the student's classes among the teacher's, by their names.

        Args:
            network: The teacher.
            classes: What the teacher's channels stand for.
            temperature: What its logits are divided by: that of its own training (T_g of Kim).
            wanted: What the student's channels stand for. The teacher may have more classes: their
                probabilities are shared out in proportion.

        Raises:
            ConfigError: The teacher lacks one of them.
        """
        super().__init__()
        unknown = [name for name in wanted if name not in classes]
        if unknown:
            raise ConfigError(
                f"distillation.teacher: it does not know {', '.join(unknown)}; its "
                f"{len(classes)} classes are {', '.join(classes)}. A teacher must know every "
                "class of the student, by the same name"
            )
        self.network = network.requires_grad_(False)
        self.classes = tuple(classes)
        self.temperature = temperature
        columns = torch.tensor([list(classes).index(name) for name in wanted])
        self.register_buffer("columns", columns, persistent=False)
        self.in_order = list(wanted) == list(classes)
        self.train()

    def train(self, mode: bool = True) -> FixedTeacher:
        """Does nothing: a fixed teacher stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward_with_features(self, images: Tensor) -> ModelOutput:
        """Logits and features of float RGB images in [0, 1], (B, 3, H, W); no gradient."""
        logits, features = self.network.forward_with_features(images)
        if not self.in_order:
            logits = logits[:, self.columns]
        if self.temperature != 1:
            logits = logits.float() / self.temperature
        return ModelOutput(logits, features)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the student's classes, shape (B, C, H, W)."""
        return self.forward_with_features(images).logits
