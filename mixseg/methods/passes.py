"""Forward and backward passes of a step: one for each batch, or one for several together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from mixseg.errors import ConfigError
from mixseg.methods.method import Backward, StreamOutput
from mixseg.models import SegmentationModel

Change = Callable[[Tensor], Tensor]
"""A feature map (B, K, h, w) -> what the head gets in its place."""

Losses = Callable[[Tensor], tuple[Mapping[str, Tensor], Mapping[str, StreamOutput]]]
"""Logits (B, C, H, W) -> losses and outputs, as ``backward`` takes them."""


class _Part(NamedTuple):
    images: Tensor
    losses: Losses
    change: Change | None


@final
class Passes:
    """Batches that wait for their passes.

    Together is faster with small batches, but batch norm then normalizes over all of them, and all
    have to fit into memory at once.
    """

    def __init__(self, student: SegmentationModel, backward: Backward) -> None:
        self.student = student
        self.backward = backward
        self._waiting: list[_Part] = []

    def add(self, images: Tensor, losses: Losses, change: Change | None = None) -> None:
        """Let a batch (B, 3, H, W) wait; its features may be changed before the head."""
        self._waiting.append(_Part(images, losses, change))

    def run(self) -> None:
        """One forward and backward pass for all that wait."""
        parts, self._waiting = self._waiting, []
        if not parts:
            return
        losses: dict[str, Tensor] = {}
        outputs: dict[str, StreamOutput] = {}
        # The logits get no name, which would keep them in memory: their graph is freed in the
        # backward pass.
        for part, logits in zip(parts, self._forward(parts), strict=True):
            own, seen = part.losses(logits)
            losses |= own
            outputs |= seen
        self.backward(losses, outputs)

    def _forward(self, parts: list[_Part]) -> list[Tensor]:
        if len(parts) == 1:
            return [self.student(parts[0].images, parts[0].change)]
        sizes = {tuple(part.images.shape[-2:]) for part in parts}
        if len(sizes) > 1:
            found = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
            raise ConfigError(
                f"model.joint_forward: labeled and unlabeled images differ in size ({found}) and "
                "cannot be one batch; set data.crop, or switch it off"
            )
        counts = [len(part.images) for part in parts]

        def change(features: Tensor) -> Tensor:
            own = zip(parts, torch.split(features, counts), strict=True)
            return torch.cat([part.change(one) if part.change else one for part, one in own])

        changes = change if any(part.change for part in parts) else None
        logits = self.student(torch.cat([part.images for part in parts]), changes)
        return list(torch.split(logits, counts))
