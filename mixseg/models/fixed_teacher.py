"""A trained network that teaches another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from mixseg.errors import ConfigError
from mixseg.models.model import ModelOutput, SegmentationModel


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
            classes: Names of the teacher's classes, by channel.
            wanted: Names of the student's classes. The teacher may have more: its probabilities
                are then normalized over these.
            temperature: Divisor of its logits: that of its own training (T_g of Kim).

        Raises:
            ConfigError: The teacher lacks a class.
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
        """A fixed teacher stays in evaluation mode whatever ``mode`` says."""
        return super().train(False)

    @torch.no_grad()
    def forward_with_features(self, images: Tensor) -> ModelOutput:
        """Logits and features, without gradient, of float RGB images in [0, 1], (B, 3, H, W)."""
        logits, features = self.network.forward_with_features(images)
        if not self.in_order:
            logits = logits[:, self.columns]
        if self.temperature != 1:
            logits = logits.float() / self.temperature
        return ModelOutput(logits, features)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the student's classes, shape (B, C, H, W)."""
        return self.forward_with_features(images).logits
