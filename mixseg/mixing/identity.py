"""No mixing: the student sees the unlabeled image itself."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mixseg.mixing.mixer import Mixer
from mixseg.registry import MIXERS


@MIXERS.register("none")
@final
class Identity(Mixer):
    """Keeps every pixel."""

    def mask(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Mixer.mask`."""
        return torch.ones_like(labels, dtype=torch.bool)
