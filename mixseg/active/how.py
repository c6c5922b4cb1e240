"""How images are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Strategy = Literal["inconsistency", "entropy", "random"]

STRATEGIES: dict[Strategy, str] = {
    "inconsistency": "teacher and student disagree on mixed images",
    "entropy": "the teacher is unsure",
    "random": "any image, to compare with",
}
"""Name -> what makes an image worth a label."""


@final
@dataclass(frozen=True)
class How:
    """How images are chosen.

    Attributes:
        budget: Number of images.
        strategy: What makes an image worth a label.
        views: Mixed views of each image.
        diversity: As in :func:`mixseg.active.diversity.choose`.
        balance: As in :func:`mixseg.active.inconsistency.mean_over_classes`.
        seed: Of all that is drawn.
        batch_size: Views per forward pass.
    """

    budget: int
    strategy: Strategy = "inconsistency"
    views: int = 8
    diversity: float = 0.5
    balance: float = 0.5
    seed: int = 0
    batch_size: int = 4
